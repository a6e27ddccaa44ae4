"""Very many users with twenty rows each in one table: what a user costs on disk, and whether one feels the others."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from adbc_driver_flightsql import dbapi

from bench.crowd import Crowd
from bench.data.table import Table
from bench.engines.insula import Flight, Insula
from bench.result import Result
from bench.rounds import interleaved, number, spread
from bench.run import Run
from demo import adbc

TITLE = "One table, very many users"
EACH = 20
USER = pa.field("owner", pa.string(), nullable=False)
TABLE = Table(
    "events",
    pa.schema([pa.field("id", pa.int64(), nullable=False), ("amount", pa.int64()), ("note", pa.string())]),
    ("id",),
)
ASK = "SELECT count(*), sum(amount) FROM events"


def name(user: int) -> str:
    return f"user-{user:07}"


def amount(user: int) -> int:
    """Of the first of their rows; each later one has one more."""
    return user % 1000


def batches(users: int) -> Iterator[pa.RecordBatch]:
    """Everybody's first row, then everybody's second: as events come in."""
    step = 50_000
    for turn in range(EACH):
        for first in range(0, users, step):
            some = pa.arange(first, min(first + step, users))
            numbers = pc.cast(some, pa.string())
            columns = [
                pa.repeat(pa.scalar(turn, pa.int64()), len(some)),
                pc.add(pc.subtract(some, pc.multiply(pc.divide(some, 1000), 1000)), turn),
                pc.binary_join_element_wise(f"event {turn} of", numbers, " "),
                pc.binary_join_element_wise("user", pc.utf8_lpad(numbers, 7, "0"), "-"),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=TABLE.schema.append(USER))


@dataclass
class Asker:
    """Asks as one user after the other, by chance; each must see their own twenty rows."""

    client: Flight
    users: int

    def open(self) -> None:
        self.client.open()
        self.random = random.Random(self.users)

    def step(self) -> None:
        user = self.random.randrange(self.users)
        answer = self.client.ask(ASK, name(user))
        want = (EACH, EACH * amount(user) + sum(range(EACH)))
        if answer != [want]:
            raise ValueError(f"{name(user)} was told {answer} instead of {want}")

    def close(self) -> None:
        self.client.close()


def run(run: Run) -> Result:
    result = Result(TITLE)
    sizes = run.pick((100, 1_000, 5_000), (1_000, 10_000, 100_000), (1_000, 100_000, 1_000_000))
    bar = f"p99 of a one-user count(*) at {sizes[-1]:,} users over {sizes[0]:,}"
    with run.directory("users") as home, ExitStack() as stack:
        crowds, lines = {}, []
        for users in sizes:
            (home / str(users)).mkdir()
            insula = stack.enter_context(Insula(home / str(users)))
            try:
                seconds = load(insula, users)
            except dbapi.Error as error:
                if adbc.code(error) != "Unimplemented":
                    raise
                result.note(f"This server takes no load of many users: {str(error).splitlines()[0]}")
                result.unmeasured(bar, "the server takes no load of many users")
                return result
            run.say(f"{users:,} users with {EACH} rows each: loaded in {seconds:.1f} s")
            lines.append([f"{users:,}", number(seconds), number(users * EACH / seconds), *storage(insula, users)])
            crowds[users] = stack.enter_context(Crowd([Asker(insula.raw_client("admin"), users)]))
        measured = interleaved(
            {str(users): partial(crowd.run, run.pick(0.5, 2.0, 8.0)) for users, crowd in crowds.items()},
            run.count(),
            run.pick(20, 60, 180),
            run.say,
        )
    result.raw["rounds"] = measured.raw()
    for line, users in zip(lines, sizes):
        line += [spread(measured.values(str(users), figure)) for figure in ("p50", "p99")]
    columns = ["users", "load, s", "rows per second", "files", "MB in files", "index bytes per user"]
    columns += ["other bytes per user", "p50, ms", "p99, ms"]
    result.table(f"`{ASK}` of users by chance, one call each", columns, lines)
    result.note("Other bytes are the RocksDB directory after the flush: users' names and numbers, definitions, logs.")
    result.note("Each size is a server of its own, and they are asked in turn.")
    growth = measured.ratios(str(sizes[-1]), str(sizes[0]), "p99")
    result.bar(bar, growth, 1.5, "×")
    return result


def load(insula: Insula, users: int) -> float:
    """Seconds of one statement that brings all rows of all users."""
    insula.create(TABLE)
    headers = {"x-insula-user": "admin", "x-insula-user-column": USER.name}
    options = {adbc.HEADER + header: value for header, value in headers.items()}
    reader = pa.RecordBatchReader.from_batches(TABLE.schema.append(USER), batches(users))
    with dbapi.connect(insula.server.url, options, autocommit=True) as connection:
        started = time.perf_counter()
        adbc.ingest(connection, f"public.{TABLE.name}", reader)
        seconds = time.perf_counter() - started
    insula.flush(TABLE)
    insula.compact(TABLE)
    return seconds


def storage(insula: Insula, users: int) -> list[str]:
    disk = insula.disk()
    index = sum(index_bytes(path) for path in (insula.server.data_dir / "cold").rglob("*.parquet"))
    per_user = [number(size / users, 1) for size in (index, disk["hot"])]
    return [str(disk["files"]), number(disk["cold"] / 1e6, 1), *per_user]


def index_bytes(path: Path) -> int:
    """Of the user index and the footer: what a file holds beside rows."""
    with parquet.ParquetFile(path) as file:
        known = file.metadata.metadata or {}
        place = known.get(b"insula.user_index", b"0:0").decode().split(":")
        return int(place[1]) + file.metadata.serialized_size
