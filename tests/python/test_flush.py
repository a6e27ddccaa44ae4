"""FLUSH: few files, the same answers, and a read that opens only its user's rows."""

import re
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo.steps.cold import rows_read
from demo.server import Server
from conftest import Login
from demo.server import ADMIN_PASSWORD

USERS = 20


def table_of(user: int, rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64()), "v": pa.array([user] * rows, pa.int32())})


@pytest.fixture
def alone(tmp_path):
    """A server of its own, with twenty users, since its files are counted."""
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, v INT)")
        users = []
        for i in range(USERS):
            admin.change(f"CREATE USER u{i} PASSWORD 'p'")
            users.append(Login(server, f"u{i}", "p"))
            users[-1].ingest("app.t", table_of(i, 100 + i))
        yield server, admin, users
        for login in [admin, *users]:
            login.close()


def test_many_users_share_a_file(alone):
    server, admin, users = alone
    before = [user.rows("SELECT * FROM app.t ORDER BY id") for user in users]
    flushed = admin.query("FLUSH TABLE app.t")
    assert flushed.num_rows == 1
    files = list(server.data_dir.rglob("*.parquet"))
    assert len(files) == 1
    assert pq.read_metadata(files[0]).num_rows == sum(100 + i for i in range(USERS))
    assert [user.rows("SELECT * FROM app.t ORDER BY id") for user in users] == before
    assert admin.query("FLUSH ALL").num_rows >= 1 and len(list(server.data_dir.rglob("*.parquet"))) == 1


def test_explain_analyze_shows_own_rows_only(alone):
    _, admin, users = alone
    admin.change("FLUSH ALL")
    for i in (0, 7, USERS - 1):
        plan = users[i].query("EXPLAIN ANALYZE SELECT id, v FROM app.t")
        text = "\n".join(str(value) for column in plan.columns for value in column.to_pylist())
        assert rows_read(text) == 100 + i
        assert not re.search(r"output_rows=2[\d.]* K", text)


def test_policies_flush_in_the_background(alone):
    server, admin, users = alone
    admin.change("CREATE TABLE app.eager (id BIGINT PRIMARY KEY) WITH (flush_rows = 100)")
    users[0].ingest("app.eager", pa.table({"id": pa.array(range(500), pa.int64())}))
    for _ in range(2_000):  # Each look is a round trip; the flush comes while we look.
        if list(server.data_dir.rglob("*.parquet")):
            break
        assert users[0].rows("SELECT count(*) FROM app.eager") == [(500,)]
    else:
        pytest.fail("flush_rows did not flush")
    assert users[0].rows("SELECT count(*), sum(id) FROM app.eager") == [(500, 124_750)]


def test_restart_after_flush_and_changes(alone):
    server, admin, users = alone
    admin.change("FLUSH ALL")
    users[3].change("DELETE FROM app.t WHERE id >= 50")
    users[4].change("UPDATE app.t SET v = -1 WHERE id < 10")
    users[5].change("INSERT INTO app.t VALUES (1000, 5)")
    for login in users:
        login.close()
    server.restart()
    counts = [user.rows("SELECT count(*) FROM app.t")[0][0] for user in users]
    assert counts == [100 + i if i not in (3, 5) else 50 if i == 3 else 106 for i in range(USERS)]
    assert users[4].rows("SELECT count(*) FROM app.t WHERE v = -1") == [(10,)]


def test_flush_is_for_who_may(alone):
    _, admin, users = alone
    # Flushing changes no row; the server may allow it to a table's users or keep it for admin, but must not break.
    try:
        users[0].change("FLUSH TABLE app.t")
    except Exception as error:
        assert "PermissionDenied" in str(error)
    assert users[0].rows("SELECT count(*) FROM app.t") == [(100,)]


def test_flush_all_goes_on_without_a_table_that_is_dropped_meanwhile(alone):
    server, admin, users = alone
    names = [f"app.many{n:02}" for n in range(20)]
    for name in names:
        admin.change(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY)")
        users[0].change(f"INSERT INTO {name} VALUES (1)")
    other = Login(server, "admin", ADMIN_PASSWORD)
    with ThreadPoolExecutor(1) as pool:
        flush = pool.submit(other.query, "FLUSH ALL")
        while not list(server.data_dir.rglob("*.parquet")) and not flush.done():
            admin.rows("SELECT 1")  # Each look is a round trip.
        for name in reversed(names[-5:]):
            admin.change(f"DROP TABLE {name}")
        flushed = flush.result()
    assert 16 <= flushed.num_rows <= 21
    other.close()
