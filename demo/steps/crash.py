"""kill -9: nothing acknowledged is lost, nothing unacknowledged is half there."""

import threading
import time

import pyarrow as pa

from demo import adbc

ROWS = 40  # of one statement


def restart(world) -> float:
    """SIGKILL and start; the seconds until the server accepts calls again."""
    world.server.kill()
    world.disconnect()
    started = time.monotonic()
    world.server.start()
    return time.monotonic() - started


def run(world) -> None:
    world.report.section("kill -9 and restart")
    seconds = restart(world)
    world.report.say(f"ready again after {seconds:.2f} s")
    world.check_all_flights("after kill -9")


class Writer(threading.Thread):
    """Inserts statements of ROWS rows until the server is gone; counts those that were acknowledged."""

    def __init__(self, world, carrier: str, first: int):
        super().__init__(daemon=True)
        self.connection = adbc.connect(world.server.url, carrier, world.passwords[carrier])
        self.statement = self.first = first
        self.busy = threading.Event()

    def run(self) -> None:
        try:
            while True:
                values = ", ".join(f"({self.statement}, {part})" for part in range(ROWS))
                adbc.script(self.connection, f"INSERT INTO aviation.notes VALUES {values}")
                self.statement += 1
                if self.statement - self.first >= 5:
                    self.busy.set()
        except Exception:
            self.busy.set()


class Loader(threading.Thread):
    """A bulk ingest that never ends by itself."""

    def __init__(self, world, carrier: str):
        super().__init__(daemon=True)
        self.connection = adbc.connect(world.server.url, carrier, world.passwords[carrier])
        self.streaming = threading.Event()
        self.gone = threading.Event()

    def run(self) -> None:
        schema = pa.schema({"statement": pa.int64(), "part": pa.int64()})

        def batches():
            for statement in range(1_000_000, 2_000_000):
                if self.gone.is_set():
                    return
                yield pa.record_batch({"statement": [statement] * ROWS, "part": list(range(ROWS))}, schema=schema)
                if statement > 1_000_050:
                    self.streaming.set()

        try:
            adbc.ingest(self.connection, "aviation.notes", pa.RecordBatchReader.from_batches(schema, batches()))
        except Exception:
            pass


def in_flight(world) -> None:
    report = world.report
    report.section("kill -9 with writes in flight, three times")
    world.tell(
        "admin", "CREATE USER TABLE aviation.notes (statement BIGINT, part BIGINT, PRIMARY KEY (statement, part))"
    )
    carriers, acknowledged = ("UA", "DL", "B6"), {}
    for attempt in range(3):
        writers = {carrier: Writer(world, carrier, acknowledged.get(carrier, 0)) for carrier in carriers}
        loader = Loader(world, "HA")
        for thread in [*writers.values(), loader]:
            thread.start()
        for writer in writers.values():
            writer.busy.wait(60)
        loader.streaming.wait(60)
        if attempt:
            flush = threading.Thread(target=ignore_errors, args=(adbc.script, world.as_user("admin"), "FLUSH ALL"))
            flush.start()
        world.server.kill()
        loader.gone.set()
        for thread in [*writers.values(), loader] + ([flush] if attempt else []):
            thread.join(60)
        restart(world)
        for carrier, writer in writers.items():
            acknowledged[carrier] = check_notes(world, carrier, writer)
        stored = adbc.scalar(world.as_user("HA"), "SELECT count(*) FROM aviation.notes")
        report.check("HA: nothing of the unfinished bulk ingest", stored, 0)
    world.check_all_flights("after all of it")


def ignore_errors(call, *arguments) -> None:
    try:
        call(*arguments)
    except Exception:
        pass


def check_notes(world, carrier: str, writer: Writer) -> int:
    """Every acknowledged statement is wholly there; the one under way is wholly there or not at all."""
    sql = "SELECT statement, count(*) AS parts FROM aviation.notes GROUP BY statement ORDER BY statement"
    found = adbc.query(world.as_user(carrier), sql)
    there = found.num_rows
    world.report.check(
        f"{carrier}: {writer.statement} statements acknowledged, {there} found, each whole",
        (there in (writer.statement, writer.statement + 1), found["statement"].to_pylist(), found["parts"].to_pylist()),
        (True, list(range(there)), [ROWS] * there),
    )
    return there
