"""Plain DataFusion in this process, on the Parquet file of the same rows: what Insula's own engine costs without us."""

import datafusion

from bench.data.table import Source
from bench.engines.insula import rows


class DataFusion:
    name = "DataFusion"

    def __init__(self, pushdown: bool = False):
        """`pushdown`: rows are filtered inside the Parquet reader, as Insula has it; not a default of DataFusion."""
        self.options = {"datafusion.execution.parquet.pushdown_filters": "true"} if pushdown else {}

    def __enter__(self) -> "DataFusion":
        self.context = datafusion.SessionContext(datafusion.SessionConfig(self.options))
        return self

    def __exit__(self, *_) -> None:
        del self.context

    @staticmethod
    def version() -> str:
        return datafusion.__version__

    @staticmethod
    def settings() -> str:
        return "defaults, Parquet files registered as tables"

    def load(self, source: Source, tenant: str = "") -> None:
        self.context.register_parquet(source.table.name, str(source.parquet()))

    def query(self, sql: str, tenant: str = "") -> list[tuple]:
        return rows(self.context.sql(sql).to_arrow_table())
