"""The benches written in Rust, which measure inside one process: a session's cost, and scans beside DataFusion's."""

import json
import os
import re
import subprocess
from pathlib import Path

from bench.result import Result
from bench.run import Run

TITLE = "Inside the process"
ROOT = Path(__file__).resolve().parent.parent.parent
# Criterion: `name   time:   [low middle high]`, the name on a line of its own where it is long.
TIME = re.compile(r"^(.*?)\s*time:\s+\[(\S+ \S+) (\S+ \S+) (\S+ \S+)\]$")
CARGO = ["cargo", "bench", "--quiet", "--workspace", "--bench"]
# Of the figures of one kind, the variant's ratio to the first one, the worst query counting.
BARS = {
    ("scan", "own"): ("cold scan of one user against plain DataFusion", 1.15),
    ("scan", "shared"): ("the same in files shared with 1,000 others", 1.3),
    ("scan", "Insula"): ("a user's query against plain DataFusion on the same files", 1.05),
    ("updated", "1 % updated"): ("filtered scan with 1 % of the rows updated since the flush", 1.2),
    ("updated", "10 % updated"): ("filtered scan with 10 % of the rows updated since the flush", 1.2),
}


def run(run: Run) -> Result:
    result = Result(TITLE)
    sessions(run, result)
    if not list((ROOT / "engine" / "benches").glob("scans*")):
        for what, _ in BARS.values():
            result.unmeasured(what, "there is no bench `scans` here")
        return result
    run.say("compiling scans")
    output([*CARGO, "scans", "--no-run"])
    rows = {
        "scan": run.pick(50_000, 1_000_000, 10_000_000),
        "updated": run.pick(50_000, 500_000, 2_000_000),
        "users": run.pick(1_000, 1_000, 1_000),
    }
    for part, count in rows.items():
        run.say(f"scans: {part}")
        settings = {
            "INSULA_BENCH_ONLY": part,
            "INSULA_BENCH_ROWS": str(count),
            "INSULA_BENCH_ROUNDS": str(run.pick(3, 7, 9)),
            "INSULA_BENCH_USERS": run.pick("100,1000", "1000,10000", "1000,100000,1000000"),
            "TMPDIR": str(run.home),
        }
        try:
            figures(result, part, count, output([*CARGO, "scans"], settings))
        except RuntimeError as error:
            # The other parts are worth having.
            result.check(f"scans: {part}", str(error).splitlines()[0], "figures")
    return result


def sessions(run: Run, result: Result) -> None:
    run.say("compiling session_cost")
    output([*CARGO, "session_cost", "--no-run"])
    run.say("running session_cost")
    rows, last = [], ""
    for line in output([*CARGO, "session_cost"]).splitlines():
        if match := TIME.match(line):
            name, low, middle, high = match.groups()
            rows.append([name.strip() or last, f"{middle} ({low}–{high})"])
        elif line.startswith("session_cost/") and ":" in line:
            rows.append([part.strip() for part in line.split(":", 1)])
        last = line.strip() or last
    result.table("A statement's own session, before it is planned", ["", "median (95 % interval)"], rows)


def output(command: list[str], settings: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(settings or {})})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {cause(done.stderr)}")
    return done.stdout


def cause(said: str) -> str:
    """Of a panic its message, which stands before the backtrace; otherwise the end."""
    _, panic, message = said.partition("panicked at ")
    return " ".join(message.splitlines()[:2]) if panic else " ".join(said.strip().splitlines()[-3:])


def figures(result: Result, part: str, rows: int, text: str) -> None:
    """One JSON object per line, all with the same keys."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    result.raw[part] = found
    if not found:
        raise RuntimeError(f"the bench scans printed no figure of {part}: {text[:500]}")
    columns = list(dict.fromkeys(key for one in found for key in one))
    caption = f"{part}: twenty rows per user" if part == "users" else f"{part}: {rows:,} rows of one user"
    lines = [[show(one.get(key)) for key in columns] for one in found]
    result.table(caption, [name.replace("_", " ") for name in columns], lines)
    for (kind, variant), (what, limit) in BARS.items():
        ratios = {one["figure"]: one["ratio"] for one in found if kind == part and one.get("variant") == variant}
        if ratios:
            worst = max(ratios, key=ratios.get)
            result.bar(f"{what}, worst query ({worst.split('/')[-1]})", ratios[worst], limit, "×")


def show(value) -> str:
    if isinstance(value, list):
        return "–".join(map(show, value))
    if isinstance(value, float):
        return f"{value:,.3f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
