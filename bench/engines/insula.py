"""Insula as a server of its own on a fresh directory, with --dev and otherwise the settings it comes with."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight

from bench.data.table import Source, Table
from bench.machine import Memory, directory_bytes
from demo import adbc, flightsql
from demo.server import Server, binary


class Insula:
    name = "Insula"

    def __init__(self, directory: Path, *flags: str):
        self.server = Server(directory / "insula", "--dev", *flags, log=directory / "insula.log")
        self._open: dict[str, object] = {}
        self._flight: Flight | None = None

    def __enter__(self) -> "Insula":
        self.server.start()
        return self

    def __exit__(self, *_) -> None:
        # The server may be the one that failed.
        with contextlib.suppress(Exception):
            self.disconnect()
        self.server.kill()

    def disconnect(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        if self._flight is not None:
            self._flight.close()
            self._flight = None

    @staticmethod
    def version() -> str:
        said = subprocess.run([binary(), "--version"], capture_output=True, text=True)
        return said.stdout.strip().removeprefix("insula ") or "unversioned"

    @staticmethod
    def settings() -> str:
        return "insula serve --dev"

    def connection(self, tenant: str):
        if tenant not in self._open:
            self._open[tenant] = adbc.connect_dev(self.server.url, tenant)
        return self._open[tenant]

    def create(self, table: Table, options: str = "") -> None:
        key = ", ".join(table.key)
        self.command(f"CREATE TABLE {table.name} ({table.columns()}, PRIMARY KEY ({key})) {options}")

    def drop(self, table: Table) -> None:
        self.command(f"DROP TABLE {table.name}")

    def command(self, sql: str, user: str = "admin") -> None:
        adbc.change(self.connection(user), sql)

    def load(self, source: Source, tenant: str) -> None:
        adbc.ingest(self.connection(tenant), f"public.{source.table.name}", source.reader())

    def flush(self, table: Table) -> None:
        self.command(f"FLUSH TABLE {table.name}")

    def compact(self, table: Table) -> bool:
        """False where the server does not know the statement."""
        try:
            self.command(f"COMPACT TABLE {table.name}")
        except Exception as error:
            if adbc.code(error) == "Unimplemented":
                return False
            raise
        return True

    def query(self, sql: str, tenant: str) -> list[tuple]:
        """In one call, the statement as its own ticket."""
        if self._flight is None:
            self._flight = self.raw_client("admin").open()
        return self._flight.ask(sql, tenant)

    def stream(self, sql: str, tenant: str) -> Iterator[pa.RecordBatch]:
        with self.connection(tenant).cursor() as cursor:
            yield from cursor.execute(sql).fetch_record_batch()

    def client(self, tenant: str) -> "Adbc":
        return Adbc(self.server.url, tenant)

    def raw_client(self, tenant: str) -> "Flight":
        return Flight(self.server.url, tenant)

    def memory(self) -> Memory:
        return Memory(self.server.process.pid)

    def disk(self) -> dict[str, int]:
        files, cold = directory_bytes(self.server.data_dir / "cold")
        _, all_bytes = directory_bytes(self.server.data_dir)
        return {"files": files, "cold": cold, "hot": all_bytes - cold}


def rows(table: pa.Table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns)))


def batch(schema: pa.Schema, row: tuple) -> pa.RecordBatch:
    return pa.record_batch([pa.array([value], kind) for value, kind in zip(row, schema.types)], schema=schema)


@dataclass
class Adbc:
    """Through ADBC's Flight SQL driver, the way most applications would."""

    url: str
    user: str

    def open(self) -> "Adbc":
        self.connection = adbc.connect_dev(self.url, self.user)
        self.cursors = []
        return self

    def cursor(self):
        self.cursors.append(self.connection.cursor())
        return self.cursors[-1]

    def change(self, sql: str, schema: pa.Schema) -> Callable[[tuple], None]:
        cursor = self.cursor()
        return lambda row: cursor.executemany(sql, batch(schema, row))

    def select(self, sql: str, schema: pa.Schema) -> Callable[[tuple], list[tuple]]:
        cursor = self.cursor()
        return lambda row: rows(cursor.execute(sql, batch(schema, row)).fetch_arrow_table())

    def close(self) -> None:
        for cursor in self.cursors:
            cursor.close()
        self.connection.close()


@dataclass
class Flight:
    """Through pyarrow.flight: the same calls with less between the program and the wire."""

    url: str
    user: str

    def open(self) -> "Flight":
        self.flight = flight.FlightClient(self.url.replace("grpc://", "grpc+tcp://"))
        self.options = self.as_user(self.user)
        return self

    @staticmethod
    def as_user(user: str) -> flight.FlightCallOptions:
        return flight.FlightCallOptions(headers=[(b"x-insula-user", user.encode())])

    def prepare(self, sql: str) -> bytes:
        body = flightsql.command("ActionCreatePreparedStatementRequest", {1: sql})
        action = flight.Action("CreatePreparedStatement", body)
        (result,) = self.flight.do_action(action, self.options)
        # Any{2: ActionCreatePreparedStatementResult{1: handle}}
        return flightsql.decode(flightsql.decode(result.body.to_pybytes())[2][0])[1][0]

    def put(self, body: bytes, parameters: pa.RecordBatch) -> bytes:
        descriptor = flight.FlightDescriptor.for_command(body)
        writer, reader = self.flight.do_put(descriptor, parameters.schema, self.options)
        with writer:
            writer.write_batch(parameters)
            writer.done_writing()
            reply = reader.read()
        return reply.to_pybytes() if reply is not None else b""

    def change(self, sql: str, schema: pa.Schema) -> Callable[[tuple], None]:
        body = flightsql.command("CommandPreparedStatementUpdate", {1: self.prepare(sql)})
        return lambda row: self.put(body, batch(schema, row))

    def select(self, sql: str, schema: pa.Schema) -> Callable[[tuple], list[tuple]]:
        """The command is its own ticket: one call for a bound statement's rows after the one that binds."""
        handle = self.prepare(sql)

        def run(row: tuple) -> list[tuple]:
            reply = self.put(flightsql.command("CommandPreparedStatementQuery", {1: handle}), batch(schema, row))
            bound = flightsql.decode(reply).get(1, [handle])[0] if reply else handle
            ticket = flight.Ticket(flightsql.command("CommandPreparedStatementQuery", {1: bound}))
            return rows(self.flight.do_get(ticket, self.options).read_all())

        return run

    def ask(self, sql: str, user: str) -> list[tuple]:
        """A query in one call, as that user."""
        ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: sql}))
        return rows(self.flight.do_get(ticket, self.as_user(user)).read_all())

    def close(self) -> None:
        self.flight.close()
