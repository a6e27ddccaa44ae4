"""Insula through ADBC, the way an application would use it."""

import re

import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions, dbapi

HEADER = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value


def connect(url: str, user: str, password: str, **headers: str) -> dbapi.Connection:
    """Autocommit: every statement is its own transaction."""
    options = {"username": user, "password": password}
    options |= {HEADER + name.replace("_", "-"): value for name, value in headers.items()}
    return dbapi.connect(url, options, autocommit=True)


def connect_dev(url: str, user: str) -> dbapi.Connection:
    """A server with --dev takes the name from this header, without a password."""
    return dbapi.connect(url, {HEADER + "x-insula-user": user}, autocommit=True)


def query(connection: dbapi.Connection, sql: str, parameters=None) -> pa.Table:
    with connection.cursor() as cursor:
        return cursor.execute(sql, parameters).fetch_arrow_table()


def scalar(connection: dbapi.Connection, sql: str, parameters=None):
    """The one value of a query's one row."""
    table = query(connection, sql, parameters)
    assert table.shape == (1, 1), f"{sql} gave {table.shape}, not one value"
    return table.column(0)[0].as_py()


def change(connection: dbapi.Connection, sql: str, rows=None) -> int:
    """Runs a statement that returns no rows, once or once per row of parameters; the number of rows changed."""
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)
        return cursor.rowcount


def script(connection: dbapi.Connection, sql: str) -> None:
    """Runs a statement without preparing it, so that nothing is left to close where the server may vanish."""
    with connection.cursor() as cursor:
        cursor.executescript(sql)


def ingest(connection: dbapi.Connection, table: str, data, mode: str = "append") -> int:
    namespace, name = table.split(".")
    with connection.cursor() as cursor:
        return cursor.adbc_ingest(name, data, mode=mode, db_schema_name=namespace)


def code(error: Exception) -> str:
    """The gRPC code behind an ADBC error, as in `InvalidArgument`: ADBC's own codes are coarser."""
    found = re.findall(r"\(([A-Z][A-Za-z]+);", str(error))
    return found[-1] if found else f"no code in: {error}"
