"""`python -m bench [WORKLOAD…] [--scale tiny|small|full]`: measures, checks answers, and writes what it found.

The page is docs/benchmarks.md at full scale, bench-results.md otherwise; it holds the last run of each workload."""

import argparse
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from bench import document, machine, results
from bench.engines.datafusion import DataFusion
from bench.engines.duckdb import DuckDb
from bench.engines.insula import Insula
from bench.engines.postgres import Postgres
from bench.result import Result
from bench.run import SCALES, Run
from bench.workloads import ALL

ENGINES = (Insula, Postgres, DuckDb, DataFusion)
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(ALL)}; all by default")
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured (default: 5)")
    parser.add_argument(
        "--dir", type=Path, default=Path("/var/tmp"), help="where the data is put: on the disk to be measured"
    )
    parser.add_argument("--page", action="store_true", help="only write the page from the results that are there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in ALL]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(ALL)}")
    # Children are ended by the context managers that began them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run, broken = Run(arguments.scale, arguments.dir, arguments.rounds), []
    if not arguments.page:
        broken = [name for name in arguments.workloads or ALL if not measure(run, name)]
    page = ROOT / ("docs/benchmarks.md" if run.scale == "full" else "bench-results.md")
    document.write(page, run.scale, results.load().get(run.scale, {}))
    print(f"\nwrote {page}" + (f"; wrong or broken: {', '.join(broken)}" if broken else ""))
    return 1 if broken else 0


def measure(run: Run, name: str) -> bool:
    workload, started = ALL[name], time.monotonic()
    print(f"\n── {name}: {workload.TITLE} ({run.scale})", flush=True)
    busy, failed, result = machine.busy(), None, None
    try:
        result = workload.run(run)
    except Exception as error:
        traceback.print_exc()
        failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    record = (result or Result(workload.TITLE)).record() | {
        "failed": failed,
        "scale": run.scale,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": time.monotonic() - started,
        "busy": busy,
        "machine": machine.facts(run.home),
        "commit": commit(),
        "programs": {engine.name: [engine.version(), engine.settings()] for engine in ENGINES},
    }
    results.save(run.scale, name, record)
    print("\n" + document.section(record))
    for bar in record["bars"]:
        print(f"{'✓' if bar['kept'] else '✗'} {bar['what']}: {bar['got']}, {bar['limit']}")
    for wrong in record["wrong"]:
        print(f"✗ wrong answer: {wrong}")
    print(f"{record['checks']} answers checked, {len(record['wrong'])} wrong, {record['seconds']:.0f} s", flush=True)
    return failed is None and not record["wrong"]


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
