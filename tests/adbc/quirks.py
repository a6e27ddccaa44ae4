"""What the ADBC validation suite must know of Insula: which features there are, how names are quoted, how statements are split.

Every feature that is off has its reason beside it, and so has every query under `queries/` that replaces one of the suite's.
"""

import functools
import re
from pathlib import Path

from adbc_drivers_validation import model, quirks

# Schemas of the databases that the tests change between: both are made by conftest.
SCHEMA, SECOND_SCHEMA = "public", "second"


class Insula(model.DriverQuirks):
    name = "flightsql"
    driver = "adbc_driver_flightsql"
    driver_name = "ADBC Flight SQL Driver - Go"
    vendor_name = "Insula"
    vendor_version = ""  # set by conftest: the server under test says it on its command line
    short_version = "1"
    setup = model.DriverSetup(database={}, connection={}, statement={})
    features = model.DriverFeatures(
        connection_get_table_schema=True,
        connection_set_current_schema=True,
        get_objects=True,
        statement_bind=True,
        statement_bulk_ingest=True,
        statement_bulk_ingest_catalog=True,
        statement_bulk_ingest_schema=True,
        statement_execute_schema=True,
        statement_get_parameter_schema=True,
        statement_prepare=True,
        statement_rows_affected=True,
        statement_rows_affected_ddl=True,
        current_catalog="insula",
        current_schema=SCHEMA,
        secondary_schema=SECOND_SCHEMA,
        # There is one catalog; naming it must work wherever a catalog can be named.
        secondary_catalog="insula",
        secondary_catalog_schema=SECOND_SCHEMA,
        # The driver was not made by the foundry of the suite, and does not keep to its extra rules.
        quirk_foundry=False,
        # Off, and why:
        connection_transactions=True,
        supported_xdbc_fields=[],  # the driver reports none of those that the suite knows
        connection_set_current_catalog=False,  # there is one; and see BROKEN_DRIVER on test_set_current_schema
        connection_get_statistics=False,  # the driver does not implement GetStatistics
        get_objects_constraints_primary=False,  # the driver asks no server for keys in GetObjects
        get_objects_constraints_foreign=False,  # there are no foreign keys
        get_objects_constraints_unique=False,  # there are no UNIQUE constraints beside the key
        get_objects_constraints_check=False,  # there are no CHECK constraints
        statement_bulk_ingest_temporary=False,  # there are no temporary tables
        metadata_type_name=False,  # Flight SQL has field metadata of its own, ARROW:FLIGHT:SQL:TYPE_NAME
    )

    @property
    def queries_paths(self) -> tuple[Path, ...]:
        return (Path(__file__).parent / "queries",)

    def bind_parameter(self, index: int) -> str:
        return f"${index}"

    def is_table_not_found(self, table_name: str | None, error: Exception) -> bool:
        return "NOT_FOUND" in str(error) and (table_name is None or table_name in str(error))

    def split_statement(self, statement: str) -> list[str]:
        # A statement of the suite ends where a line ends with a semicolon, which a comment behind it would hide.
        return quirks.split_statement(re.sub("--.*", "", statement))


@functools.cache
def insula() -> Insula:
    return Insula()
