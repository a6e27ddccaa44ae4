"""The rate at which a user may write: streams wait, small writes do not, and nobody waits for another user."""

import threading
import time

import pyarrow as pa
import pytest
from conftest import Login

from demo import adbc
from demo.server import ADMIN_PASSWORD, Server

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A megabyte a second."""
    flags = ["--user-ingest-rate", "1MB", "--queue-timeout", "2s"]
    with Server(tmp_path_factory.mktemp("slow") / "data", *flags) as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE TABLE notes (id BIGINT PRIMARY KEY, v TEXT)")
        admin.close()
        yield server


@pytest.fixture
def login(slow):
    """Makes users who have written nothing yet."""
    admin, made = Login(slow, "admin", ADMIN_PASSWORD), []

    def make(name: str) -> Login:
        admin.change(f"CREATE USER {name} PASSWORD 'secret {name}'")
        made.append(Login(slow, name, f"secret {name}"))
        return made[-1]

    yield make
    for each in [admin, *made]:
        each.close()


def batches(count: int, size: int):
    """A stream of rows of a kilobyte."""
    rows = size // 1000
    for n in range(count):
        ids = pa.array(range(n * rows, (n + 1) * rows), pa.int64())
        yield pa.record_batch([ids, pa.array(["x" * 988] * rows)], ["id", "v"])


def write(login: Login, count: int, size: int) -> float:
    """Seconds that it took."""
    began, first = time.monotonic(), next(batches(1, size))
    reader = pa.RecordBatchReader.from_batches(first.schema, batches(count, size))
    assert adbc.ingest(login.connect(), "public.notes", reader) == count * size // 1000
    return time.monotonic() - began


def test_a_stream_comes_to_the_rate_and_others_do_not_wait(login):
    ann, bob = login("ann"), login("bob")
    took = []
    streaming = threading.Thread(target=lambda: took.append(write(ann, 10, MEGABYTE // 2)))
    streaming.start()
    deadline = time.monotonic() + 60
    while ("queued",) not in ann.rows("SELECT state FROM system.queries WHERE text = '(ingest)'"):
        assert time.monotonic() < deadline and not took, "the stream does not wait"
    bob.change("INSERT INTO notes VALUES (1, 'b')")
    assert not took, "another user waits for the stream"
    streaming.join(60)
    # Five megabytes, of which a second's worth and the last batch are for later.
    assert took and took[0] >= 3, took
    assert ann.rows("SELECT count(*) FROM notes") == [(5_000,)]
    (told,) = ann.rows("SELECT queue_micros, bytes FROM system.audit WHERE statement = 'INGEST'")
    assert told[0] >= 2_500_000 and told[1] >= 5 * MEGABYTE, told


def test_who_has_written_far_too_much_is_told_so(login, refused):
    carl, dora = login("carl"), login("dora")
    carl.change("INSERT INTO notes SELECT value, repeat('x', 1000) FROM generate_series(1, 8000)")
    for statement in [
        "INSERT INTO notes VALUES (0, 'small')",
        "UPDATE notes SET v = 'y' WHERE id = 7",
        "DELETE FROM notes WHERE id = 7",
    ]:
        with refused("ResourceExhausted", "--user-ingest-rate", "1000000 bytes a second"):
            carl.change(statement)
    with refused("ResourceExhausted", "--user-ingest-rate"):
        write(carl, 1, 1000)
    assert carl.rows("SELECT count(*), min(v) = max(v) FROM notes") == [(8_000, True)], "reading goes on, nothing was written"
    dora.change("INSERT INTO notes VALUES (0, 'small')")
    assert dora.rows("SELECT * FROM notes") == [(0, "small")]


def test_small_writes_never_wait(login):
    eve = login("eve")
    for n in range(20):
        eve.change(f"INSERT INTO notes VALUES ({n}, 'small')")
    waits = eve.rows("SELECT max(queue_micros) FROM system.audit WHERE statement = 'INSERT'")
    assert waits == [(0,)], waits
