"""The server's memory while it takes in, flushes, compacts and reads a table many times larger than its limit."""

import time

import pyarrow as pa
import pyarrow.compute as pc

from bench.data import flights
from bench.engines.insula import Insula
from bench.machine import Memory
from bench.result import Result
from bench.rounds import number
from bench.run import Run

TITLE = "Memory under a limit"
TENANT = "airline"
LIMIT = 512
# What a process holds beside what it accounts for: code, stacks, the allocator's slack.
SLACK = 1.25
# Arrow bytes of a flight with its id.
ROW = 77


class Stages:
    def __init__(self, run: Run, result: Result, memory: Memory):
        self.run, self.result, self.memory = run, result, memory
        self.lines, self.highest, self.absent = [], 0.0, ""

    def measure(self, name: str, work, megabytes: float | None = None):
        self.memory.reset()
        started = time.perf_counter()
        try:
            answer = work()
        except Exception as error:
            # The next stages tell whether the server is well after a refusal.
            answer = megabytes = None
            self.result.check(f"{name} is done", str(error).splitlines()[0], "done")
        if answer is False:
            megabytes = None
        took = time.perf_counter() - started
        now, highest = self.memory.megabytes()
        self.run.say(f"{name}: {took:.1f} s, {now:.0f} MiB now, {highest:.0f} MiB at most")
        self.lines.append(
            [name, number(took), number(megabytes and megabytes / took), number(now, 0), number(highest, 0)]
        )
        self.highest = max(self.highest, highest)
        return answer


def run(run: Run) -> Result:
    result, megabytes = Result(TITLE), run.pick(50, 500, 5_000)
    rows = megabytes * 1_000_000 // ROW
    with run.directory("memory") as home, Insula(home, "--memory-limit", f"{LIMIT}MB") as insula:
        stages = Stages(run, result, insula.memory())
        run.say(f"{rows:,} flights, {megabytes:,} MB of Arrow data, --memory-limit {LIMIT}MB")
        source = flights.source(rows, home)
        stages.measure("idle", lambda: insula.create(source.table))
        stages.measure("ingest", lambda: insula.load(source, TENANT), megabytes)
        totals = flights.totals(rows)
        found = stages.measure("aggregation", lambda: insula.query(flights.CHECK, TENANT), megabytes)
        result.check("after the ingest", found, [tuple(totals.values())])
        stages.measure("FLUSH TABLE", lambda: insula.flush(source.table))
        if stages.measure("COMPACT TABLE", lambda: insula.compact(source.table), megabytes) is False:
            stages.absent = "this server has no COMPACT TABLE"
        scanned = stages.measure("full scan to the client", lambda: scan(insula), megabytes)
        result.check("the rows of the scan", scanned, (totals["rows"], totals["distance"]))
        found = stages.measure("sort on disk", lambda: ordered(insula, rows))
        result.check("a sort by another column", found, True)
        result.raw["disk"] = disk = insula.disk()
    bar = f"VmHWM under `--memory-limit {LIMIT}MB`, all stages"
    if stages.absent:
        result.unmeasured(bar, f"{stages.absent}; the other stages took {stages.highest:.0f} MiB")
    else:
        result.bar(bar, stages.highest, LIMIT * SLACK, "MiB")
    columns = ["stage", "seconds", "MB/s of Arrow data", "VmRSS after, MiB", "VmHWM, MiB"]
    result.table(f"{rows:,} flights, {megabytes:,} MB as Arrow data, `--memory-limit {LIMIT}MB`", columns, stages.lines)
    result.note(
        f"On disk: {disk['files']} files of {number(disk['cold'] / 1e6)} MB, {number(disk['hot'] / 1e6)} MB beside."
    )
    return result


def scan(insula: Insula) -> tuple[int, int]:
    """Every column of every row comes to the client, which keeps none."""
    rows = distance = 0
    for batch in insula.stream("SELECT * FROM flights", TENANT):
        rows += batch.num_rows
        distance += pc.sum(pc.cast(batch["distance"], pa.int64())).as_py() or 0
    return rows, distance


def ordered(insula: Insula, rows: int) -> bool:
    """More than the limit has to be sorted, and is checked batch by batch."""
    last, seen = None, 0
    for batch in insula.stream(
        "SELECT tailnum, id FROM flights WHERE tailnum IS NOT NULL ORDER BY tailnum, id", TENANT
    ):
        if batch.num_rows == 0:
            continue
        first = (batch["tailnum"][0].as_py(), batch["id"][0].as_py())
        if last is not None and first <= last:
            return False
        last, seen = (batch["tailnum"][-1].as_py(), batch["id"][-1].as_py()), seen + batch.num_rows
    return seen > 0.9 * rows
