"""The 22 queries of TPC-H as one tenant, each answer compared with DuckDB's."""

import math
import time
from contextlib import ExitStack
from functools import partial

from bench.data import tpch
from bench.engines.datafusion import DataFusion
from bench.engines.duckdb import DuckDb
from bench.engines.insula import Insula
from bench.result import Result
from bench.rounds import Figures, interleaved, number, spread
from bench.run import Run

TITLE = "TPC-H"
TENANT = "analyst"


def run(run: Run) -> Result:
    result, scale = Result(TITLE), run.pick(0.01, 0.1, 1)
    with run.directory("tpch") as home, ExitStack() as stack:
        insula, duck, plain = engines = [stack.enter_context(e) for e in (Insula(home), DuckDb(), DataFusion())]
        run.say(f"scale factor {scale:g}")
        for source in tpch.sources(scale):
            insula.create(source.table)
            for engine in engines:
                engine.load(source, TENANT)
            insula.flush(source.table)
            insula.compact(source.table)
            (count,) = insula.query(f"SELECT count(*) FROM {source.table.name}", TENANT)
            result.check(f"rows of {source.table.name}", count, (source.rows,))
        names, lines, totals = ["Insula", "DataFusion", "DuckDB"], [], []
        for name, sql in tpch.queries().items():
            # The specification lets this one shrink with the scale.
            sql = sql.replace("{fraction}", f"{0.0001 / scale:.10f}")
            line = measure(run, result, dict(zip(names, (insula, plain, duck))), name, sql)
            lines.append(line[0])
            if line[1]:
                totals.append(line[1])
    if totals:
        for one, other in ((0, 1), (0, 2)):
            mean = math.exp(sum(math.log(t[one] / t[other]) for t in totals) / len(totals))
            result.compare(f"TPC-H, geometric mean of {len(totals)} queries", names[other], [mean])
            result.note(
                f"Geometric mean over {len(totals)} queries of Insula's time: {number(mean)} × {names[other]}'s."
            )
    columns = ["milliseconds", *names, "× DataFusion", "× DuckDB"]
    result.table(f"Scale factor {scale:g}; × is Insula's time over the other's", columns, lines)
    return result


def measure(run: Run, result: Result, engines: dict, name: str, sql: str) -> tuple[list[str], tuple | None]:
    """The line of the table, and the medians if the query could be measured."""
    try:
        got = engines["Insula"].query(sql, TENANT)
    except Exception as error:
        reason = str(error).splitlines()[0]
        result.check(f"{name} runs", reason, None)
        return [name, "refused", *["–"] * 4], None
    want = engines["DuckDB"].query(sql)
    result.check(f"{name} as DuckDB answers it", alike(got, want), [])
    result.check(f"{name} in DataFusion as DuckDB answers it", alike(engines["DataFusion"].query(sql), want), [])
    variants = {other: partial(timed, engine, sql) for other, engine in engines.items()}
    measured = interleaved(variants, run.count(), run.pick(5, 10, 40), run.say)
    result.raw[name] = measured.raw()
    medians = tuple(measured.median(other, "ms") for other in engines)
    run.say(f"{name}: " + ", ".join(f"{other} {ms:.1f} ms" for other, ms in zip(engines, medians)))
    ratios = [spread(measured.ratios("Insula", other, "ms")) for other in ("DataFusion", "DuckDB")]
    return [name, *(spread(measured.values(other, "ms")) for other in engines), *ratios], medians


def timed(engine, sql: str) -> Figures:
    started = time.perf_counter()
    engine.query(sql, TENANT)
    return {"ms": (time.perf_counter() - started) * 1e3}


def alike(got: list[tuple], want: list[tuple]) -> list[str]:
    """The first difference. An average's type is each system's own choice, so numbers are compared to six digits."""
    if len(got) != len(want):
        return [f"{len(got)} rows instead of {len(want)}"]
    for place, (ours, theirs) in enumerate(zip(got, want)):
        if len(ours) != len(theirs) or not all(map(close, ours, theirs)):
            return [f"row {place}: {ours} instead of {theirs}"]
    return []


def close(a, b) -> bool:
    if isinstance(b, str) or b is None or a is None or not hasattr(b, "__float__"):
        return a == b
    return math.isclose(float(a), float(b), rel_tol=1e-6, abs_tol=1e-6)
