"""SELECT of one row by its key: fresh rows and flushed ones, one client and sixteen tenants at once."""

import random
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from bench.crowd import Crowd
from bench.data import flights
from bench.engines.insula import Insula
from bench.engines.postgres import Postgres
from bench.result import Result
from bench.rounds import interleaved, spread
from bench.run import Run

TITLE = "Point SELECT by key, prepared"
TENANTS = 16
HOT, COLD = flights.table("fresh"), flights.table("settled")
# Fresh rows stay where they are while they are measured.
STAY = "WITH (flush_rows = 1000000000, flush_bytes = '100GB', flush_interval = '10 days')"
KEY = pa.schema([pa.field("id", pa.int64(), nullable=False)])


@dataclass
class Reader:
    """Asks for rows of its tenant by random keys, each of which exists."""

    client: object
    table: str
    first: int
    rows: int

    def open(self) -> None:
        self.random = random.Random(self.first)
        self.ask = self.client.open().select(f"SELECT * FROM {self.table} WHERE id = $1", KEY)

    def step(self) -> None:
        key = self.first + self.random.randrange(self.rows)
        answer = self.ask((key,))
        if len(answer) != 1 or answer[0][0] != key:
            raise ValueError(f"{self.table} answered {answer} to the key {key}")

    def close(self) -> None:
        self.client.close()


def tenant(number: int) -> str:
    return f"airline{number}"


def run(run: Run) -> Result:
    result, rows = Result(TITLE), run.pick(2_000, 10_000, 50_000)
    with run.directory("point") as home, Insula(home) as insula, Postgres(home) as postgres:
        insula.create(HOT, STAY)
        insula.create(COLD)
        postgres.create(COLD)
        run.say(f"{TENANTS} tenants with {rows:,} rows each")
        for number in range(TENANTS):
            fresh, settled = (flights.source(rows, home, number * rows, table.name) for table in (HOT, COLD))
            insula.load(fresh, tenant(number))
            insula.load(settled, tenant(number))
            postgres.load(settled, tenant(number))
            settled.forget()
        insula.flush(COLD)
        insula.compact(COLD)
        postgres.settle(COLD)
        check(result, insula, postgres, rows)
        for clients in (1, TENANTS):
            measure(run, result, insula, postgres, clients, rows)
    return result


def check(result: Result, insula: Insula, postgres: Postgres, rows: int) -> None:
    for number in (0, TENANTS - 1):
        first = number * rows
        (batch,) = flights.batches(1, first + rows // 2)
        want = [tuple(batch.to_pylist()[0].values())]
        for engine, table in ((insula, HOT), (insula, COLD), (postgres, COLD)):
            names = ", ".join(table.schema.names)
            row = engine.query(f"SELECT {names} FROM {table.name} WHERE id = {first + rows // 2}", tenant(number))
            result.check(f"{engine.name}: a row of {table.name}", row, want)
            others = engine.query(
                f"SELECT id FROM {table.name} WHERE id = {(first + 5 * rows) % (TENANTS * rows)}", tenant(number)
            )
            result.check(f"{engine.name}: another tenant's row of {table.name}", others, [])


def measure(run: Run, result: Result, insula: Insula, postgres: Postgres, clients: int, rows: int) -> None:
    doors = {
        "Insula fresh, ADBC": (insula.client, HOT),
        "Insula flushed, ADBC": (insula.client, COLD),
        "Insula fresh, Flight": (insula.raw_client, HOT),
        "Insula flushed, Flight": (insula.raw_client, COLD),
        "PostgreSQL, psycopg": (postgres.client, COLD),
    }
    if clients > 1:
        doors = {name: door for name, door in doors.items() if "Flight" not in name}
    run.say(f"{clients} client(s): " + "; ".join(doors))
    with ExitStack() as stack:
        crowds = {}
        for name, (client, table) in doors.items():
            readers = [Reader(client(tenant(n)), table.name, n * rows, rows) for n in range(clients)]
            crowds[name] = stack.enter_context(Crowd(readers))
        seconds = run.pick(0.5, 1.0, 5.0)
        measured = interleaved(
            {name: partial(crowd.run, seconds) for name, crowd in crowds.items()},
            run.count(),
            run.pick(20, 60, 180),
            run.say,
        )
    result.raw[f"{clients} clients"] = measured.raw()
    lines = []
    for name in doors:
        figures = [spread(measured.values(name, figure)) for figure in ("p50", "p99", "per second")]
        if name != "PostgreSQL, psycopg":
            what = f"point SELECT, {clients} client(s), {name.removeprefix('Insula ')}: p50"
            result.compare(what, "PostgreSQL", measured.ratios(name, "PostgreSQL, psycopg", "p50"))
        lines.append([name, *figures, spread(measured.ratios(name, "PostgreSQL, psycopg", "p50"))])
    caption = f"{clients} client{'s, each a tenant of its own' if clients > 1 else ''}, {rows:,} rows per tenant"
    result.table(caption, ["", "p50, ms", "p99, ms", "per second", "× PostgreSQL's p50"], lines)
