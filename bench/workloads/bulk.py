"""Bulk ingest of flights as one statement of one tenant, durable when it returns."""

import time
from functools import partial
from pathlib import Path

from bench.data import flights
from bench.data.table import Source
from bench.engines.insula import Insula
from bench.engines.postgres import Postgres
from bench.machine import write_speed
from bench.result import Result
from bench.rounds import Figures, interleaved, number, spread
from bench.run import Run

TITLE = "Bulk ingest, durable"
TENANT = "airline"
RAW = "the disk alone: write and fsync"
INSULA = "Insula, ADBC ingest"
COPY = "PostgreSQL, COPY as the owner"
TENANT_COPY = "PostgreSQL, COPY and INSERT … SELECT as the tenant"


def run(run: Run) -> Result:
    result = Result(TITLE)
    with run.directory("bulk") as home, Insula(home) as insula, Postgres(home) as postgres:
        source = flights.source(run.pick(100_000, 1_000_000, 10_000_000), home)
        run.say(f"{source.rows:,} flights, written as CSV for COPY")
        source.csv()
        loads = Loads(result, source, flights.totals(source.rows))
        variants = {
            RAW: partial(raw_speed, home, run.pick(64, 256, 1024)),
            INSULA: partial(loads.measure, insula, insula.load),
            COPY: partial(loads.measure, postgres, postgres.load),
            TENANT_COPY: partial(loads.measure, postgres, postgres.load_as_tenant),
        }
        once = run.pick((), (), (TENANT_COPY,))
        measured = interleaved(variants, run.count(), run.pick(60, 120, 600), run.say, only_first=once)
        loads.shuffled(run, insula, home)
    result.raw["rounds"] = measured.raw()
    for other in (COPY, TENANT_COPY):
        result.compare("bulk ingest", other, measured.ratios(INSULA, other, "seconds"))
    rows = [
        [name, *(spread(measured.values(name, figure)) for figure in ("seconds", "rows per second", "MB/s"))]
        + [spread(measured.ratios(name, COPY, "rows per second")), spread(measured.values(name, "bytes per row"), 0)]
        for name in variants
    ]
    columns = [
        "",
        "seconds",
        "rows per second",
        "MB/s of Arrow data",
        "× COPY's rows per second",
        "bytes on disk per row",
    ]
    result.table(f"{source.rows:,} flights of {number(loads.bytes / 1e6)} MB as Arrow data", columns, rows)
    share = measured.ratios(INSULA, RAW, "MB/s")
    result.note(f"Insula takes in Arrow data at {spread(share)} × the speed at which this disk writes a file.")
    result.bar(
        "bulk ingest against COPY in the same run", measured.ratios(INSULA, COPY, "rows per second"), 5, "×", True
    )
    return result


def raw_speed(home: Path, megabytes: int) -> Figures:
    return {"MB/s": write_speed(home, megabytes)}


class Loads:
    """Each load goes into an empty table, is timed to its acknowledgement, and is checked."""

    def __init__(self, result: Result, source: Source, totals: dict[str, int]):
        self.result, self.source = result, source
        self.expected = [tuple(totals.values())]
        self.bytes = source.arrow_bytes()

    def measure(self, engine: Insula | Postgres, load) -> Figures:
        table = self.source.table
        before = size(engine)
        engine.create(table)
        started = time.perf_counter()
        load(self.source, TENANT)
        took = time.perf_counter() - started
        self.result.check(f"{engine.name} after {load.__name__}", engine.query(flights.CHECK, TENANT), self.expected)
        if isinstance(engine, Insula):
            engine.flush(table)
        grown = size(engine) - before
        engine.drop(table)
        rows = self.source.rows
        return {
            "seconds": took,
            "rows per second": rows / took,
            "MB/s": self.bytes / 1e6 / took,
            "bytes per row": grown / rows,
        }

    def shuffled(self, run: Run, insula: Insula, home: Path) -> None:
        """Keys in no order: every part of the load overlaps every other."""
        rows = min(self.source.rows, run.pick(50_000, 500_000, 2_000_000))
        source = flights.shuffled(rows, home)
        other = Loads(self.result, source, flights.totals(rows))
        figures = other.measure(insula, insula.load)
        self.result.raw["shuffled"] = figures
        self.result.note(
            f"With the keys shuffled, {rows:,} rows in one load: {number(figures['rows per second'])} rows per second."
        )


def size(engine: Insula | Postgres) -> int:
    """Of the rows' own files, without any log."""
    return engine.disk()["cold"] if isinstance(engine, Insula) else engine.disk()
