"""Against the floor, a server that does nothing but speak: what Insula adds to arrow-flight and tonic."""

import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import pyarrow as pa
import pyarrow.compute
import pyarrow.flight as flight

from bench.crowd import Crowd
from bench.data import flights
from bench.data.table import Table
from bench.engines.floor import Floor
from bench.engines.insula import Flight, Insula, rows
from bench.engines.postgres import Postgres
from bench.machine import cpu_seconds, halves, place
from bench.result import Result
from bench.rounds import Figures, interleaved, spread
from bench.run import Run
from demo import adbc, flightsql

TITLE = "Beside a server that does nothing else"
TENANTS = 16
SETTLED = flights.table("settled")
KEY = pa.schema([pa.field("id", pa.int64(), nullable=False)])
COLUMNS = 10
MOVED = ", moved about"
LIMIT_P50, LIMIT_CROWD, LIMIT_STREAM = 1.15, 0.8, 0.9


@dataclass
class Point:
    """A prepared SELECT by key through one of the ways to ask it."""

    client: object
    way: str
    first: int
    rows: int

    def open(self) -> None:
        self.random, opened = random.Random(self.first), self.client.open()
        sql = f"SELECT * FROM {SETTLED.name} WHERE id = $1"
        if not isinstance(opened, Flight):
            ask = opened.select(sql, KEY)
            self.ask = lambda: ask((self.first + self.random.randrange(self.rows),))
            return
        handle = opened.prepare(sql)
        key = pa.record_batch([pa.array([self.first + self.rows // 2])], schema=KEY)
        command = {1: handle}
        reply = opened.put(flightsql.command("CommandPreparedStatementQuery", command), key)
        command[1] = flightsql.decode(reply).get(1, [handle])[0] if reply else handle
        body = flightsql.command("CommandPreparedStatementQuery", command)
        self.ask = partial(self.one_call if self.way == "DoGet" else self.two_calls, opened, body)

    @staticmethod
    def one_call(opened: Flight, body: bytes) -> list[tuple]:
        return rows(opened.flight.do_get(flight.Ticket(body), opened.options).read_all())

    @staticmethod
    def two_calls(opened: Flight, body: bytes) -> list[tuple]:
        info = opened.flight.get_flight_info(flight.FlightDescriptor.for_command(body), opened.options)
        return rows(opened.flight.do_get(info.endpoints[0].ticket, opened.options).read_all())

    def step(self) -> None:
        if len(self.ask()) != 1:
            raise ValueError("not one row")

    def close(self) -> None:
        self.client.close()


@dataclass
class RowLevel:
    """The same SELECT through psycopg."""

    client: object
    first: int
    rows: int

    def open(self) -> None:
        self.random = random.Random(self.first)
        self.ask = self.client.open().select(f"SELECT * FROM {SETTLED.name} WHERE id = $1", KEY)

    def step(self) -> None:
        self.ask((self.first + self.random.randrange(self.rows),))

    def close(self) -> None:
        self.client.close()


def run(run: Run) -> Result:
    result, count = Result(TITLE), run.pick(2_000, 10_000, 50_000)
    with run.directory("floor") as home, Insula(home) as insula, Postgres(home) as postgres, Floor() as floor:
        insula.create(SETTLED)
        postgres.create(SETTLED)
        run.say(f"{TENANTS} tenants with {count:,} rows each")
        for number in range(TENANTS):
            source = flights.source(count, home, number * count, SETTLED.name)
            insula.load(source, tenant(number))
            postgres.load(source, tenant(number))
            source.forget()
        insula.flush(SETTLED)
        insula.compact(SETTLED)
        postgres.settle(SETTLED)
        for clients in (1, TENANTS):
            points(run, result, insula, postgres, floor, clients, count)
        streams(run, result, insula, floor)
    return result


def tenant(number: int) -> str:
    return f"airline{number}"


def points(run: Run, result: Result, insula, postgres, floor, clients: int, count: int) -> None:
    ways = {"ADBC": "client", "GetFlightInfo + DoGet": "raw_client", "DoGet": "raw_client"}
    pids = {"Insula": insula.server.process.pid, "Floor": floor.process.pid, "PostgreSQL": postgres.process.pid}
    run.say(f"point SELECT, {clients} client(s)")
    every = os.sched_getaffinity(0)
    # One client and its server are at work in turn, and where the scheduler moves them about, the time of a statement is
    # that of filling caches again, which is the longer the more a server has to say.
    places = {"": halves(), MOVED: (every, every)} if clients == 1 else {"": (every, every)}
    with ExitStack() as stack:
        crowds = {}
        for way, door in ways.items():
            for engine in (insula, floor):
                made = [Point(getattr(engine, door)(tenant(n)), way, n * count, count) for n in range(clients)]
                crowds[f"{engine.name}, {way}"] = stack.enter_context(Crowd(made)), pids[engine.name]
        made = [RowLevel(postgres.client(tenant(n)), n * count, count) for n in range(clients)]
        crowds["PostgreSQL, psycopg"] = stack.enter_context(Crowd(made)), pids["PostgreSQL"]
        variants = {
            name + moved: partial(measured, crowd, pid, run, place)
            for moved, place in places.items()
            for name, (crowd, pid) in crowds.items()
        }
        found = interleaved(variants, run.count(), run.pick(30, 90, 300), run.say)
    result.raw[f"point, {clients} clients"] = found.raw()
    lines = []
    for name in variants:
        figures = [spread(found.values(name, figure)) for figure in ("p50", "p99", "per second", "cpu")]
        lines.append([name, *figures])
    result.table(
        f"Prepared point SELECT, {clients} client(s)" + (", it and the server on processors of their own" * (clients == 1)),
        ["", "p50, ms", "p99, ms", "per second", "CPU of the server per statement, µs"],
        lines,
    )
    for way in ways:
        ours, theirs = f"Insula, {way}", f"Floor, {way}"
        what = f"point SELECT, {clients} client(s), {way}"
        if clients == 1:
            result.bar(f"{what}: p50 against the floor", found.ratios(ours, theirs, "p50"), LIMIT_P50, "×")
            moved = spread(found.ratios(ours + MOVED, theirs + MOVED, "p50"))
            result.note(f"{what}: p50 {moved} × the floor's where the scheduler moves client and server about.")
        else:
            ratios = found.ratios(ours, theirs, "per second")
            result.bar(f"{what}: throughput against the floor", ratios, LIMIT_CROWD, "×", at_least=True)
        ratios = found.ratios(ours, "PostgreSQL, psycopg", "cpu")
        result.bar(f"{what}: CPU of the server against PostgreSQL's", ratios, 1.0, "×")


def measured(crowd: Crowd, pid: int, run: Run, processors: tuple[set[int], set[int]]) -> Figures:
    """`processors`: the server's and the clients'."""
    place(pid, processors[0])
    for client in crowd.pids():
        place(client, processors[1])
    before = cpu_seconds(pid)
    figures = crowd.run(run.pick(0.5, 1.5, 4.0))
    return figures | {"cpu": (cpu_seconds(pid) - before) * 1e6 / figures["steps"]}


def streams(run: Run, result: Result, insula: Insula, floor: Floor) -> None:
    """A result of many values: ten columns of 64 bits."""
    count = run.pick(100_000, 1_000_000, 10_000_000)
    wide = Table("wide", pa.schema([pa.field(f"c{i}", pa.int64(), nullable=False) for i in range(COLUMNS)]), ("c0",))
    insula.command(f"CREATE TABLE wide ({wide.columns()}, PRIMARY KEY (c0))")
    batches = (numbers(wide.schema, first, min(65_536, count - first)) for first in range(0, count, 65_536))
    adbc.ingest(insula.connection("airline0"), "public.wide", pa.RecordBatchReader.from_batches(wide.schema, batches))
    insula.flush(wide)
    insula.compact(wide)
    insula.disconnect()
    run.say(f"streams of {count * COLUMNS:,} values")
    asked = {"Insula": "SELECT * FROM wide", "Floor": f"SELECT 'floor_rows {count}'"}
    ways: dict[str, Callable[[object, str], int]] = {"ADBC": by_adbc, "pyarrow.flight": by_flight}
    variants = {
        f"{engine.name}, {way}": partial(streamed, read, engine, asked[engine.name], count)
        for way, read in ways.items()
        for engine in (insula, floor)
    }
    found = interleaved(variants, 3 * run.count(), run.pick(20, 60, 240), run.say)
    result.raw["streams"] = found.raw()
    lines = [[name, spread(found.values(name, "MB/s"))] for name in variants]
    result.table(f"{count * COLUMNS:,} values, one client", ["", "MB/s"], lines)
    for way in ways:
        ratios = found.ratios(f"Insula, {way}", f"Floor, {way}", "MB/s")
        what = f"{count * COLUMNS:,} values, {way}: throughput against the floor"
        result.bar(what, ratios, LIMIT_STREAM, "×", at_least=True)


def numbers(schema: pa.Schema, first: int, count: int) -> pa.RecordBatch:
    key = pa.array(range(first, first + count), pa.int64())
    column = pa.compute.multiply(key, 31)
    return pa.record_batch([key] + [pa.compute.add(column, i) for i in range(1, COLUMNS)], schema=schema)


def streamed(read: Callable[[object, str], int], engine, sql: str, count: int) -> Figures:
    started = perf_counter()
    got = read(engine, sql)
    took = perf_counter() - started
    if got != count:
        raise ValueError(f"{engine.name}: {got} rows instead of {count}")
    return {"MB/s": count * COLUMNS * 8 / 1e6 / took}


def by_adbc(engine, sql: str) -> int:
    client = engine.client("airline0").open()
    try:
        with client.cursor() as cursor:
            return sum(batch.num_rows for batch in cursor.execute(sql).fetch_record_batch())
    finally:
        client.close()


def by_flight(engine, sql: str) -> int:
    client = engine.raw_client("airline0").open()
    try:
        body = flightsql.command("CommandStatementQuery", {1: sql})
        info = client.flight.get_flight_info(flight.FlightDescriptor.for_command(body), client.options)
        reader = client.flight.do_get(info.endpoints[0].ticket, client.options)
        return sum(chunk.data.num_rows for chunk in reader)
    finally:
        client.close()
