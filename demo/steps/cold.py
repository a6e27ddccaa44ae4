"""FLUSH: the rows move from RocksDB to Parquet, and every answer stays what it was."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from demo import adbc, data
from demo.report import tuples
from demo.steps import changes, isolation

ONE_CARRIER = "SELECT flight, dep_delay FROM aviation.flights"
MULTIPLES = {"": 1, "K": 1_000, "M": 1_000_000}


def parquet_files(data_dir: Path) -> list[Path]:
    return sorted(data_dir.rglob("*.parquet"))


def rows_read(plan: str) -> int:
    """The rows that came out of the Parquet scans, from the metrics of EXPLAIN ANALYZE."""
    scans = [line for line in plan.splitlines() if "DataSourceExec" in line]
    counts = [re.search(r"output_rows=([\d.,]+) ?([KM]?)", line) for line in scans]
    return sum(round(float(found[1].replace(",", "")) * MULTIPLES[found[2]]) for found in counts if found)


def run(world) -> None:
    report = world.report
    report.section("FLUSH ALL: from RocksDB to Parquet")
    world.ask("admin", "FLUSH ALL")
    files = parquet_files(world.server.data_dir)
    flights = [path for path in files if holds_flights(path)]
    report.say(f"{len(files)} Parquet files, {len(flights)} of them with flights, for 16 carriers")
    report.check("the carriers share files: fewer than one per carrier", 0 < len(flights) < 16, True)
    world.check_all_flights("from Parquet")
    for carrier in ("UA", "HA"):
        answer = adbc.query(world.as_user(carrier), isolation.BY_ORIGIN)
        report.check(f"{carrier}'s answer is the same", tuples(answer), isolation.by_origin(world.flights[carrier]))
    explain(world)


def holds_flights(path: Path) -> bool:
    """Told by their width: no other table of the demonstration has nineteen columns."""
    return pq.read_metadata(path).num_columns >= 19


def explain(world) -> None:
    plan = adbc.query(world.as_user("HA"), f"EXPLAIN ANALYZE {ONE_CARRIER}")
    text = "\n".join(str(value) for row in tuples(plan) for value in row)
    world.report.sql("HA", f"EXPLAIN ANALYZE {ONE_CARRIER}")
    for line in text.splitlines():
        if "DataSourceExec" in line:
            world.report.say(f"   {line.strip()[:180]}")
    # Rows behind deletion vectors are skipped while reading; HA deleted none.
    own = world.flights["HA"].num_rows
    world.report.check(f"the scan reads HA's {own} rows and no other", rows_read(text), own)


def change_again(world) -> None:
    """Hot rows over cold ones: changed, deleted and put back after the flush."""
    report = world.report
    report.section("Changes over Parquet: hot rows shadow cold ones")
    flights = world.flights["UA"]
    where = pc.equal(flights["dest"], "SFO")
    sql = "UPDATE aviation.flights SET air_time = air_time + 1 WHERE dest = 'SFO'"
    report.check("UA's UPDATE of cold rows", world.tell("UA", sql), pc.sum(where).as_py())
    world.flights["UA"] = changes.set_column(flights, "air_time", where, pc.add(flights["air_time"], 1))

    flights = world.flights["HA"]
    delayed = pc.fill_null(pc.greater(flights["dep_delay"], 60), False)
    sql = "DELETE FROM aviation.flights WHERE dep_delay > 60"
    report.check("HA's DELETE of cold rows", world.tell("HA", sql), pc.sum(delayed).as_py())
    world.flights["HA"] = flights.filter(pc.invert(delayed))

    back = flights.filter(delayed).slice(0, 2)
    report.check("HA puts two of them back", adbc.ingest(world.as_user("HA"), "aviation.flights", back), 2)
    world.flights["HA"] = pa.concat_tables([world.flights["HA"], back]).sort_by(
        [(name, "ascending") for name in data.KEY]
    )
    world.check_all_flights("hot over cold")
    world.ask("admin", "FLUSH TABLE aviation.flights")
    world.check_all_flights("after another flush")
