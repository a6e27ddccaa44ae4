"""DuckDB in this process, on the Parquet file of the same rows. It knows no tenants and nothing that is durable."""

import duckdb

from bench.data.table import Source
from bench.engines.insula import rows


class DuckDb:
    name = "DuckDB"

    def __enter__(self) -> "DuckDb":
        self.connection = duckdb.connect()
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()

    @staticmethod
    def version() -> str:
        return duckdb.__version__

    @staticmethod
    def settings() -> str:
        return "defaults, views over Parquet files"

    def load(self, source: Source, tenant: str = "") -> None:
        name, path = source.table.name, source.parquet()
        self.connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{path}')")

    def query(self, sql: str, tenant: str = "") -> list[tuple]:
        return rows(self.connection.sql(sql).to_arrow_table())
