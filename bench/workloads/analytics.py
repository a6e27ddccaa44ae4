"""Analytic queries of one tenant over flushed flights, among other tenants' rows."""

import time
from contextlib import ExitStack
from functools import partial

from bench.data import flights
from bench.engines.datafusion import DataFusion
from bench.engines.duckdb import DuckDb
from bench.engines.insula import Insula
from bench.engines.postgres import Postgres
from bench.result import Result
from bench.rounds import Figures, Rounds, interleaved, spread
from bench.run import Run

TITLE = "Analytic queries of one tenant"
TABLE, TENANT = flights.table(), "airline"
QUERIES = {
    "count": "SELECT count(*) FROM flights",
    "sums of four columns": "SELECT sum(dep_delay), sum(arr_delay), sum(air_time), sum(distance) FROM flights",
    "group by carrier": """SELECT carrier, count(*), avg(dep_delay), max(distance) FROM flights
        GROUP BY carrier ORDER BY carrier""",
    "filter on delay": "SELECT count(*), avg(arr_delay) FROM flights WHERE dep_delay > 60",
    "one in a hundred by key": "SELECT count(*), sum(distance) FROM flights WHERE id BETWEEN {low} AND {high}",
    "distinct planes": """SELECT dest, count(DISTINCT tailnum) FROM flights GROUP BY dest ORDER BY dest""",
    "ten latest": """SELECT id, carrier, flight, dep_delay FROM flights
        ORDER BY dep_delay DESC NULLS LAST, id LIMIT 10""",
    "ten by key": f"SELECT {', '.join(TABLE.schema.names)} FROM flights ORDER BY id DESC LIMIT 10",
}


def run(run: Run) -> Result:
    result, rows = Result(TITLE), run.pick(50_000, 500_000, 10_000_000)
    with run.directory("analytics") as home, ExitStack() as stack:
        insula, postgres, duck, plain, pushing = engines = [
            stack.enter_context(engine)
            for engine in (Insula(home), Postgres(home), DuckDb(), DataFusion(), DataFusion(pushdown=True))
        ]
        source = flights.source(rows, home)
        run.say(f"{rows:,} flights of one tenant, {rows // 5:,} of 20 others")
        for engine in (insula, postgres):
            engine.create(TABLE)
        for engine in engines:
            engine.load(source, TENANT)
        for number in range(20):
            others = flights.source(rows // 100, home, number * rows // 100)
            insula.load(others, f"other{number}")
            postgres.load(others, f"other{number}")
            others.forget()
        insula.flush(TABLE)
        if insula.compact(TABLE):
            result.note("The table was compacted before: `COMPACT TABLE`.")
        postgres.settle(TABLE)
        result.raw["files"] = insula.disk()
        names = ["Insula", "PostgreSQL", "DuckDB", "DataFusion", "DataFusion, filters in Parquet"]
        lines = [measure(run, result, dict(zip(names, engines)), name, sql, rows) for name, sql in QUERIES.items()]
    columns = ["milliseconds", *names, "× DataFusion", "× DuckDB", "× PostgreSQL"]
    result.table(f"{rows:,} rows of the tenant; × is Insula's time over the other's", columns, lines)
    return result


def measure(run: Run, result: Result, engines: dict, name: str, sql: str, rows: int) -> list[str]:
    sql = sql.format(low=rows // 2, high=rows // 2 + rows // 100 - 1)
    # The first answers are untimed, and checked against each other.
    want = ordinary(engines["DuckDB"].query(sql, TENANT))
    for other, engine in engines.items():
        result.check(f"{other}: {name}", ordinary(engine.query(sql, TENANT)), want)
    variants = {other: partial(timed, engine, sql) for other, engine in engines.items()}
    measured = interleaved(variants, run.count(), run.pick(10, 20, 60), run.say)
    result.raw[name] = measured.raw()
    for other in ("PostgreSQL", "DuckDB", "DataFusion"):
        result.compare(f"analytics, {name}", other, measured.ratios("Insula", other, "ms"))
    run.say(f"{name}: " + ", ".join(f"{other} {measured.median(other, 'ms'):.1f} ms" for other in engines))
    return [name, *(spread(measured.values(other, "ms")) for other in engines), *ratios(measured)]


def ratios(measured: Rounds) -> list[str]:
    return [spread(measured.ratios("Insula", other, "ms")) for other in ("DataFusion", "DuckDB", "PostgreSQL")]


def timed(engine, sql: str) -> Figures:
    started = time.perf_counter()
    engine.query(sql, TENANT)
    return {"ms": (time.perf_counter() - started) * 1e3}


def ordinary(rows: list[tuple]) -> list[tuple]:
    """Decimals as floats: systems differ in the type of an average."""
    return [tuple(float(v) if type(v).__name__ == "Decimal" else v for v in row) for row in rows]
