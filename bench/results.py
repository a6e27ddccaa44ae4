"""`bench-results.json`: the last run of each workload at each scale, with every single measurement."""

import json
import os
from pathlib import Path

PATH = Path(__file__).resolve().parent.parent / "bench-results.json"


def load() -> dict:
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def save(scale: str, workload: str, record: dict) -> None:
    """After each workload, so that a run that breaks off keeps what it has."""
    results = load()
    results.setdefault(scale, {})[workload] = record
    new = PATH.with_suffix(".new")
    new.write_text(json.dumps(results, indent=1))
    os.replace(new, PATH)
