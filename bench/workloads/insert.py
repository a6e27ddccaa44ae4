"""INSERT of one row, on disk before the reply: one client, and sixteen of as many tenants."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from bench.crowd import Crowd
from bench.data import flights
from bench.engines.insula import Insula
from bench.engines.postgres import Postgres
from bench.machine import sync_latency
from bench.result import Result
from bench.rounds import Round, Rounds, interleaved, number, spread
from bench.run import Run

TITLE = "One-row INSERT, durable"
# Another load of the machine turns PostgreSQL's INSERT of about a millisecond into one of a scheduler's tick.
DISTURBED = 3.0
TABLE = flights.table()


@dataclass
class Writer:
    """Inserts flights one by one."""

    client: object
    first: int
    rows: list[tuple] = field(default_factory=list)
    done: int = 0

    def open(self) -> None:
        self.rows = list(zip(*(column.to_pylist() for column in flights.original().slice(0, 1000).columns)))
        self.insert = self.client.open().change(TABLE.insert(), TABLE.schema)

    def step(self) -> None:
        self.insert((self.first + self.done, *self.rows[self.done % len(self.rows)]))
        self.done += 1

    def close(self) -> None:
        self.client.close()


def run(run: Run) -> Result:
    result = Result(TITLE)
    with run.directory("insert") as home, Insula(home) as insula, Postgres(home) as postgres:
        result.raw["fdatasync of 4 KiB, ms"] = sync = sync_latency(home)
        result.note(f"An `fdatasync` after 4 KiB takes {number(sync)} ms on this disk: no durable write can be faster.")
        for engine in (insula, postgres):
            engine.create(TABLE)
        for clients in (1, 16):
            # Only one client's times tell whether others use the machine: without them the rest is not to be trusted.
            if not measure(run, result, insula, postgres, clients):
                break
    return result


def measure(run: Run, result: Result, insula: Insula, postgres: Postgres, clients: int) -> bool:
    """Whether there was an undisturbed round."""
    doors = {
        "Insula, ADBC": (insula, insula.client, "a"),
        "Insula, Flight": (insula, insula.raw_client, "f"),
        "PostgreSQL, psycopg": (postgres, postgres.client, "p"),
    }
    run.say(f"{clients} client(s): " + ", ".join(doors))
    with ExitStack() as stack:
        crowds = {}
        for name, (_, client, letter) in doors.items():
            writers = [Writer(client(f"{letter}{clients}_{n}"), first=0) for n in range(clients)]
            crowds[name] = stack.enter_context(Crowd(writers))
        seconds = run.pick(0.5, 1.0, 5.0)
        measured = interleaved(
            {name: partial(crowd.run, seconds) for name, crowd in crowds.items()},
            run.count(),
            run.pick(20, 60, 240),
            run.say,
            disturbed if clients == 1 else lambda _: None,
        )
    for name, (engine, _, letter) in doors.items():
        stored = sum(
            engine.query("SELECT count(*) FROM flights", f"{letter}{clients}_{n}")[0][0] for n in range(clients)
        )
        # Each client inserts one row before the first round.
        acknowledged = clients + sum(map(int, measured.all_values(name, "steps")))
        result.check(f"rows of {name}, {clients} clients", stored, acknowledged)
    report(result, measured, list(doors), clients)
    return bool(measured.kept)


def disturbed(done: Round) -> str | None:
    p50 = done["PostgreSQL, psycopg"]["p50"]
    return f"PostgreSQL's p50 was {p50:.1f} ms: others used the machine" if p50 > DISTURBED else None


def report(result: Result, measured: Rounds, doors: list[str], clients: int) -> None:
    result.raw[f"{clients} clients"] = measured.raw()
    if measured.discarded:
        result.note(f"{clients} client(s): {len(measured.discarded)} rounds discarded; {measured.reasons[-1]}.")
    if not measured.kept:
        result.note(f"**{clients} client(s): no round was undisturbed, so there are no figures. Run again.**")
        return
    rows = []
    for name in doors:
        figures = [spread(measured.values(name, figure)) for figure in ("p50", "p99", "per second")]
        if name != doors[-1]:
            what = f"one-row INSERT, {clients} client(s), {name.split(', ')[1]}: p50"
            result.compare(what, "PostgreSQL", measured.ratios(name, doors[-1], "p50"))
        rows.append([name, *figures, spread(measured.ratios(name, doors[-1], "per second"))])
    caption = f"{clients} client{'s, each a tenant of its own' if clients > 1 else ''}"
    result.table(caption, ["", "p50, ms", "p99, ms", "rows per second", "× PostgreSQL's rows per second"], rows)
