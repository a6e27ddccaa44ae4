"""Runs the ADBC ecosystem's own validation suite against one real server; see README.md."""

import subprocess

import adbc_driver_flightsql
import adbc_driver_manager
import adbc_driver_manager.dbapi as dbapi
import adbc_drivers_validation.tests.conftest as suite
import pytest
from adbc_drivers_validation.tests.conftest import conn, manual_test, noci, pytest_addoption  # noqa: F401

from demo.server import ADMIN_PASSWORD, Server, binary

from .quirks import SECOND_SCHEMA, insula

# What cannot pass whatever the server does. Each must fail (strictly), so that a mended driver is noticed.
BROKEN_DRIVER = {
    "test_set_current_schema[": "the driver makes INVALID_ARGUMENT of every refused session option; the suite wants NOT_FOUND",
    "test_get_info[": "the driver on PyPI is built without its version and says '(unknown or development build)'",
    "test_ingest_then_query[": "the driver keeps the ingested stream bound and takes the next query for an ingest",
}
# What the server has no part for.
NOT_APPLICABLE = {"test_replace_catalog[": "needs a table of one name in each of two catalogs, and there is one catalog"}


def pytest_collection_modifyitems(session, config, items):
    suite.pytest_collection_modifyitems(session, config, items)
    # The suite's lint tests judge its own files and ask no server.
    lints = [item for item in items if item.name.startswith("test_lint_query[")]
    items[:] = [item for item in items if item not in lints]
    config.hook.pytest_deselected(items=lints)
    for item in items:
        for start, reason in BROKEN_DRIVER.items():
            if item.name.startswith(start):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        for start, reason in NOT_APPLICABLE.items():
            if item.name.startswith(start):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("validation") / "data") as server:
        yield server
        assert server.process.poll() is None, f"the server died during the tests:\n{server.log_tail()}"


@pytest.fixture(scope="session")
def driver(request):
    quirks = insula()
    version = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout
    quirks.vendor_version = version.split()[-1]
    return quirks


@pytest.fixture(scope="session")
def driver_path(driver):
    return adbc_driver_flightsql._driver_path()


@pytest.fixture(scope="session")
def db_kwargs(server):
    return {"uri": server.url, "username": "admin", "password": ADMIN_PASSWORD}


@pytest.fixture(scope="session")
def conn_factory(driver_path, db_kwargs):
    database = adbc_driver_manager.AdbcDatabase(driver=driver_path, **db_kwargs)
    shared = dbapi._SharedDatabase(database)

    def connect() -> Connection:
        return Connection(shared, adbc_driver_manager.AdbcConnection(database), autocommit=True)

    with connect() as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_sql_query(f"CREATE SCHEMA IF NOT EXISTS {SECOND_SCHEMA}")
        cursor.adbc_statement.execute_update()
    yield connect


class Connection(dbapi.Connection):
    """The Flight SQL driver takes rows that are bound to a statement before it is prepared for a bulk ingest, and refuses
    to run the statement (`must set IngestTargetTable`): it never sends anything. The suite binds first, as ADBC allows. So
    here a statement with parameters is prepared when its first rows are bound."""

    def cursor(self, **options):
        cursor = super().cursor(**options)
        cursor._stmt = PreparingStatement(cursor._stmt)
        return cursor


class PreparingStatement:
    """A statement that is prepared before rows are bound to it, unless it is an ingest."""

    def __init__(self, statement):
        self._statement = statement
        self._to_prepare = False

    def __getattr__(self, name):
        return getattr(self._statement, name)

    def set_sql_query(self, query):
        self._statement.set_sql_query(query)
        self._to_prepare = True

    def set_options(self, **options):
        self._to_prepare = self._to_prepare and not any("ingest.target_table" in name for name in options)
        self._statement.set_options(**options)

    def prepare(self):
        if self._to_prepare:
            self._to_prepare = False
            self._statement.prepare()

    def bind(self, *rows):
        self.prepare()
        self._statement.bind(*rows)

    def bind_stream(self, rows):
        self.prepare()
        self._statement.bind_stream(rows)
