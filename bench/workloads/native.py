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
BENCHES = {
    "session_cost": "What a statement's own session costs before it is planned",
    "scans": "Scans of cold rows inside one process",
}
# Criterion: `name   time:   [low middle high]`, the name on a line of its own where it is long.
TIME = re.compile(r"^(.*?)\s*time:\s+\[(\S+ \S+) (\S+ \S+) (\S+ \S+)\]$")
CARGO = ["cargo", "bench", "--quiet", "--workspace"]


def run(run: Run) -> Result:
    result = Result(TITLE)
    for name, caption in BENCHES.items():
        if not (ROOT / "engine" / "benches" / f"{name}.rs").exists():
            result.note(f"There is no bench `{name}` here.")
            continue
        run.say(f"compiling {name}")
        output([*CARGO, "--bench", name, "--no-run"])
        run.say(f"running {name}")
        text = output([*CARGO, "--bench", name])
        result.raw[name] = text.splitlines()
        times(result, caption, text)
        figures(result, caption, text)
    return result


def output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-1500:]}")
    return done.stdout


def times(result: Result, caption: str, text: str) -> None:
    rows, last = [], ""
    for line in text.splitlines():
        if match := TIME.match(line):
            name, low, middle, high = match.groups()
            rows.append([name.strip() or last, f"{middle} ({low}–{high})"])
        elif line.startswith("session_cost/") and ":" in line:
            rows.append([part.strip() for part in line.split(":", 1)])
        last = line.strip() or last
    if rows:
        result.table(caption, ["", "median (95 % interval)"], rows)


def figures(result: Result, caption: str, text: str) -> None:
    """One JSON object per line, all with the same keys."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    if not found:
        return
    columns = list(dict.fromkeys(key for one in found for key in one))
    rows = [[show(one.get(key)) for key in columns] for one in found]
    result.table(caption, columns, rows)


def show(value) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return "–" if value is None else str(value)
