"""A disk that fills up: RESOURCE_EXHAUSTED for the statement, nothing of it stored, and the server goes on."""

import os
import subprocess

import pyarrow as pa
import pytest

from conftest import Login
from demo import adbc
from demo.server import ADMIN_PASSWORD, Server

ROWS = 2_000


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "insula-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def batch(number: int) -> pa.Table:
    # Random bytes: compression must not make room.
    values = [os.urandom(1_000) for _ in range(ROWS)]
    return pa.table({"id": pa.array(range(number * ROWS, (number + 1) * ROWS), pa.int64()), "v": values})


def test_a_full_disk(small_disk, tmp_path):
    with Server(small_disk / "data", log=tmp_path / "log") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, v BYTEA)")
        stored, error = 0, None
        while error is None:
            assert stored < 100, "the disk never filled up"
            try:
                stored += admin.ingest("app.t", batch(stored)) // ROWS
            except Exception as failure:
                error = failure
        assert adbc.code(error) == "ResourceExhausted", error
        # Reads go on, and see what was acknowledged and nothing else.
        assert stored > 0
        assert admin.rows("SELECT count(*), count(DISTINCT id) FROM app.t") == [(stored * ROWS, stored * ROWS)]
        with pytest.raises(Exception):
            admin.ingest("app.t", batch(stored))
        assert server.process.poll() is None
        admin.close()
        # With room again, a restart takes writes and still has every acknowledged row.
        subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
        server.restart()
        assert admin.rows("SELECT count(*) FROM app.t") == [(stored * ROWS,)]
        assert admin.ingest("app.t", batch(stored)) == ROWS
        admin.close()
