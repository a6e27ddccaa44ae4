"""`bench-results.json`: the last run of each workload at each scale, with every single measurement."""

import json
import os
from pathlib import Path

# Of a record. Records of another format are left out: they lack what the page is made of now.
FORMAT = 2
PATH = Path(__file__).resolve().parent.parent / "bench-results.json"


def load() -> dict:
    found = json.loads(PATH.read_text()) if PATH.exists() else {}
    return {
        scale: {name: record for name, record in records.items() if record.get("format") == FORMAT}
        for scale, records in found.items()
    }


def save(scale: str, workload: str, record: dict) -> None:
    """After each workload, so that a run that breaks off keeps what it has."""
    results = load()
    results.setdefault(scale, {})[workload] = record | {"format": FORMAT}
    new = PATH.with_suffix(".new")
    new.write_text(json.dumps(results, indent=1))
    os.replace(new, PATH)
