"""Very many sessions, streams that nobody reads, statements of a thousand users at once: what it costs, who is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.flight as flight

from bench.engines.insula import Flight, Insula
from bench.result import Result
from bench.rounds import number, percentile
from bench.run import Run
from demo import flightsql

TITLE = "Ten thousand sessions, a thousand streams that nobody reads"
PATIENT, LIMIT = 100.0, 2048
ROWS = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 100000000)"
SMALL = "SELECT count(*) FROM generate_series(1, 100)"


@dataclass
class Counted:
    """How many calls went well, and what the others were told."""

    well: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, work):
        try:
            done = work()
        except pa.ArrowException as error:
            with self.lock:
                kind = "RESOURCE_EXHAUSTED" if "RESOURCE_EXHAUSTED" in str(error) else type(error).__name__
                self.refused[kind] = self.refused.get(kind, 0) + 1
            return None
        with self.lock:
            self.well += 1
        return done

    @property
    def wrong(self) -> int:
        return sum(count for kind, count in self.refused.items() if kind != "RESOURCE_EXHAUSTED")


def run(run: Run) -> Result:
    result = Result(TITLE)
    sessions, streams = run.pick(200, 2_000, 10_000), run.pick(20, 200, 1_000)
    users, each = run.pick(20, 200, 1_000), 10
    with run.directory("sessions") as home, Insula(home, "--memory-limit", f"{LIMIT}MB") as insula:
        memory = insula.memory()
        insula.query("SELECT 1", "warm")
        idle, _ = memory.megabytes()
        opened = open_sessions(insula, sessions)
        with_sessions, _ = memory.megabytes()
        run.say(f"{sessions:,} sessions: {with_sessions - idle:.1f} MiB")
        memory.reset()
        burst = at_once(insula, users, each)
        _, highest = memory.megabytes()
        run.say(f"{users:,} users × {each} statements at once: {highest - with_sessions:.0f} MiB, {burst}")
        quiet = ask(insula, run.pick(50, 100, 300))
        stalled, counted = stall(insula, streams)
        run.say(f"{streams:,} streams that nobody reads: {counted}")
        busy = ask(insula, run.pick(50, 100, 300))
        now, most = memory.megabytes()
        for reader in stalled:
            reader.cancel()
        result.check("sessions that are open", opened, sessions)
        result.check("statements at once that failed otherwise than by RESOURCE_EXHAUSTED", burst.wrong, 0)
        result.check("streams that failed otherwise than by RESOURCE_EXHAUSTED", counted.wrong, 0)
    result.bar(f"`SELECT 1` beside {streams:,} streams and {sessions:,} sessions: slowest", max(busy), PATIENT, "ms")
    result.bar(f"{users:,} users × {each} statements at once, above idle", highest - idle, 200, "MiB")
    result.bar(f"VmHWM under `--memory-limit {LIMIT}MB`", most, LIMIT * 1.25, "MiB")
    lines = [
        [f"{sessions:,} open sessions, above idle", f"{number(with_sessions - idle, 1)} MiB", f"{opened:,} open"],
        [f"{users:,} users × {each} statements at once, above that", f"{number(highest - with_sessions, 1)} MiB", told(burst)],
        [f"{streams:,} streams that nobody reads", f"{number(now, 0)} MiB in all", told(counted)],
        ["`SELECT 1` before them: p50, p99", f"{number(percentile(quiet, 0.5))} ms", f"{number(percentile(quiet, 0.99))} ms"],
        ["`SELECT 1` beside them: p50, p99", f"{number(percentile(busy, 0.5))} ms", f"{number(percentile(busy, 0.99))} ms"],
    ]
    result.table("One server", ["", "", ""], lines)
    result.note(f"A stream is `{ROWS}`, of which the client takes one batch. A statement at once is `{SMALL}`.")
    return result


def told(counted: Counted) -> str:
    shed = counted.refused.get("RESOURCE_EXHAUSTED", 0)
    return f"{counted.well:,} went well, {shed:,} refused with RESOURCE_EXHAUSTED"


def open_sessions(insula: Insula, count: int) -> int:
    """A hundred to a user, each by a token of its own."""
    client = insula.raw_client("admin").open()

    def one(n: int) -> None:
        bearer = client.flight.authenticate_basic_token(f"user{n // 100}", "")
        options = flight.FlightCallOptions(headers=[bearer])
        client.flight.do_get(flight.Ticket(flightsql.command("CommandStatementQuery", {1: "SELECT 1"})), options).read_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
    client.close()
    return int(insula.query("SELECT count(*) FROM system.sessions WHERE \"by\" = 'token'", "admin")[0][0])


def at_once(insula: Insula, users: int, each: int) -> Counted:
    """All are sent before the first answer is waited for."""
    counted, client = Counted(), insula.raw_client("admin").open()
    ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: SMALL}))
    readers = []
    for n in range(users * each):
        options = Flight.as_user(f"user{n % users}")
        readers.append(counted.call(lambda options=options: client.flight.do_get(ticket, options)))
    counted.well = 0
    for reader in readers:
        if reader is not None:
            counted.call(reader.read_all)
    client.close()
    return counted


def stall(insula: Insula, count: int) -> tuple[list, Counted]:
    """Streams of a hundred users, each read for one batch and then no more."""
    counted, readers = Counted(), []
    clients = [insula.raw_client("admin").open() for _ in range(8)]
    ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: ROWS}))

    def one(n: int):
        reader = clients[n % 8].flight.do_get(ticket, Flight.as_user(f"user{n % 100}"))
        reader.read_chunk()
        return reader

    with ThreadPoolExecutor(16) as pool:
        for reader in pool.map(lambda n: counted.call(lambda: one(n)), range(count)):
            if reader is not None:
                readers.append(reader)
    return readers, counted


def ask(insula: Insula, times: int) -> list[float]:
    """Milliseconds of SELECT 1, one after the other, as a user who has nothing else."""
    client, took = insula.raw_client("bystander").open(), []
    for _ in range(times):
        started = time.perf_counter()
        client.ask("SELECT 1", "bystander")
        took.append((time.perf_counter() - started) * 1e3)
    client.close()
    return took
