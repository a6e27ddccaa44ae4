"""A byte that changed on disk: the statements that need it say DATA_LOSS, and everything else goes on."""

import json
import random
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, Server, binary

# Pages end after 20,000 rows, so each user has at least one of their own.
ROWS = 40_000
BLOCK = 64 << 10


@pytest.fixture
def world(tmp_path):
    """A server with one Parquet file: the rows of ann, then those of ben."""
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, note TEXT)")
        admin.change("CREATE TABLE app.other (id BIGINT PRIMARY KEY)")
        noise = random.Random(7)
        users = []
        for name in ("ann", "ben"):
            admin.change(f"CREATE USER {name} PASSWORD '{name}'")
            users.append(Login(server, name, name))
            notes = [noise.randbytes(20).hex() for _ in range(ROWS)]
            users[-1].ingest("app.t", pa.table({"id": pa.array(range(ROWS)), "note": notes}))
            users[-1].change("INSERT INTO app.other VALUES (1)")
        admin.query("FLUSH TABLE app.t")
        yield server, admin, *users
        for login in (admin, *users):
            login.close()


def parquet_file(server):
    (found,) = server.data_dir.glob("cold/t*/*.parquet")
    return found


def flip(path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def check(server, *flags) -> tuple[int, list[str]]:
    command = [binary(), "check", "--data-dir", server.data_dir, *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout.splitlines()


def test_a_flipped_byte_of_a_page_fails_what_needs_it(world, refused, tmp_path):
    server, admin, ann, ben = world
    path = parquet_file(server)
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
    # The notes are by far the most.
    chunk = max((group.column(i) for i in range(group.num_columns)), key=lambda column: column.total_compressed_size)
    # Behind the dictionary, which everybody reads, in a page of ann's first half.
    at = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size // 5
    flip(path, at)
    place = (f"{path.parent.name}/{path.name}", f"byte {at // BLOCK * BLOCK} ")

    def checked():
        for _ in range(2):
            with refused("DataLoss", *place):
                ann.query("SELECT sum(length(note)) FROM app.t")
        with refused("DataLoss", *place):
            ann.query("SELECT note FROM app.t WHERE id = 15000")
        with refused("DataLoss", *place):
            ann.change("UPDATE app.t SET note = note || '!' WHERE id BETWEEN 15000 AND 15010")
        assert ann.rows("SELECT count(*), sum(id), max(id) FROM app.t") == [(ROWS, ROWS * (ROWS - 1) // 2, ROWS - 1)]
        assert ann.rows("SELECT length(note) FROM app.t WHERE id = 35000") == [(40,)]
        assert ann.rows("SELECT id FROM app.other") == [(1,)]
        assert ben.rows("SELECT sum(length(note)), count(*) FROM app.t") == [(40 * ROWS, ROWS)]

    checked()
    # Damage does not get into a backup.
    with refused("DataLoss", *place):
        admin.query(f"BACKUP DATABASE TO 'file://{tmp_path}/backup'")
    for login in (admin, ann, ben):
        login.close()
    server.restart()
    checked()
    # A row that replaces a lost one is not in the way of the flush, nor is the lost one.
    ben.change("UPDATE app.t SET note = 'new' WHERE id = 5")
    admin.query("FLUSH TABLE app.t")
    assert ben.rows("SELECT count(*) FROM app.t WHERE note = 'new'") == [(1,)]


def test_a_flipped_byte_of_the_footer_fails_its_table_alone(world, refused):
    server, admin, ann, ben = world
    path = parquet_file(server)
    flip(path, path.stat().st_size - 100)
    for login in (admin, ann, ben):
        login.close()
    server.restart()
    for login in (ann, ben):
        with refused("DataLoss", path.name, "checksum"):
            login.query("SELECT count(note) FROM app.t")
        assert login.rows("SELECT id FROM app.other") == [(1,)]
    ann.change("INSERT INTO app.other VALUES (2)")


def test_a_flipped_byte_of_the_hot_tier_fails_what_needs_it(tmp_path, refused):
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, note TEXT)")
        noise = random.Random(7)
        for name in ("ann", "ben"):
            admin.change(f"CREATE USER {name} PASSWORD '{name}'")
            user = Login(server, name, name)
            rows = ", ".join(f"({n}, '{noise.randbytes(60).hex()}')" for n in range(500))
            user.change(f"INSERT INTO app.t VALUES {rows}")
            user.close()
        admin.close()
        # What a start finds in its log goes to files, of which the rows' is by far the largest.
        assert server.stop() == 0
        server.start()
        assert server.stop() == 0
        path = max(server.data_dir.glob("hot/*.sst"), key=lambda path: path.stat().st_size)
        size = path.stat().st_size
        assert size > 50_000
        flip(path, size // 8)
        code, (fault, *_) = check(server)
        assert code == 1 and f"hot/{path.name}" in fault, fault

        server.start()
        logins = [Login(server, name, password) for name, password in
                  (("admin", ADMIN_PASSWORD), ("ann", "ann"), ("ben", "ben"))]
        admin, ann, ben = logins
        with refused("DataLoss") as refusal:
            ann.query("SELECT sum(length(note)) FROM app.t")
        assert path.name not in refusal.text and str(tmp_path) not in refusal.text, refusal.text
        assert ben.rows("SELECT sum(length(note)), count(*) FROM app.t") == [(120 * 500, 500)]
        ben.change("INSERT INTO app.t VALUES (1000, 'more')")
        with refused("DataLoss"):
            admin.query("FLUSH TABLE app.t")
        assert ben.rows("SELECT count(*) FROM app.t") == [(501,)]
        # The background tries it seldom, and says so.
        admin.change("ALTER TABLE app.t SET (flush_rows = 1)")
        ben.change("INSERT INTO app.t VALUES (1001, 'more')")
        deadline, failing = time.monotonic() + 60, []
        while not failing and time.monotonic() < deadline:
            failing = [job for job in admin.query("SHOW JOBS").to_pylist() if job["state"] == "failing"]
        [job] = failing
        assert (job["job"], job["namespace"], job["table"], job["failures"]) == ("flush", "app", "t", 1), job
        assert "damaged" in job["error"] and str(tmp_path) not in job["error"], job
        assert (job["retry_at"] - job["at"]).total_seconds() == 60, job
        admin.change("DROP TABLE app.t")
        assert [job["job"] for job in admin.query("SHOW JOBS").to_pylist()] == ["drop"]
        for login in logins:
            login.close()


def test_check_lists_each_fault_and_says_so_with_its_exit_code(world):
    server, admin, ann, ben = world
    ann.change("UPDATE app.t SET note = 'new' WHERE id < 10")
    for login in (admin, ann, ben):
        login.close()
    code, said = check(server)
    assert code == 1 and not said, "the server runs"
    assert server.stop() == 0
    code, (total,) = check(server)
    assert code == 0 and total.endswith("; 0 faults") and "2 tables, 1 files" in total, total
    path = parquet_file(server)
    flip(path, BLOCK + 7)
    flip(path, 3 * BLOCK)
    (path.parent / "01a2085b-f8b8-757e-8ffb-a20d32e7ed41.dv").write_bytes(b"of nobody")
    code, said = check(server, "--format", "json")
    *faults, total = map(json.loads, said)
    assert code == 1 and [(fault["place"], fault["offset"]) for fault in faults] == [
        (f"{path.parent.name}/{path.name}", BLOCK), (f"{path.parent.name}/{path.name}", 3 * BLOCK)]
    assert total["kind"] == "sum" and total["faults"] == 2 and total["tables"] == 2, total
    flip(path, BLOCK + 7)
    flip(path, 3 * BLOCK)
    code, (fault, total) = check(server)
    assert code == 1 and fault.startswith("fault: ") and ".dv" in fault, fault
