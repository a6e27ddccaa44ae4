"""What lies on disk."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.steps.cold import holds_flights, parquet_files


def run(world) -> None:
    report, data_dir = world.report, world.server.data_dir
    report.section("What lies on disk")
    world.ask("admin", "FLUSH ALL", show=False)
    report.check("the server stops cleanly on SIGTERM", world.server.stop(), 0)
    sizes, counts = Counter(), Counter()
    for path in (path for path in data_dir.rglob("*") if path.is_file()):
        kind = path.suffix if path.suffix in (".parquet", ".sst", ".log") else "other"
        sizes[kind] += path.stat().st_size
        counts[kind] += 1
    kinds = sorted(sizes, key=sizes.get, reverse=True)
    report.table(
        pa.table({"kind": kinds, "files": [counts[k] for k in kinds], "KiB": [sizes[k] // 1024 for k in kinds]})
    )
    files = parquet_files(data_dir)
    report.say("")
    report.table(pa.Table.from_pylist([describe(path, data_dir) for path in files]), limit=30)
    flights = [path for path in files if holds_flights(path)]
    report.check(f"{len(flights)} files hold the flights of 16 carriers", 0 < len(flights) < 16, True)


def describe(path: Path, data_dir: Path) -> dict:
    meta = pq.read_metadata(path)
    return {
        "file": str(path.relative_to(data_dir)),
        "rows": meta.num_rows,
        "row groups": meta.num_row_groups,
        "KiB": path.stat().st_size // 1024,
    }
