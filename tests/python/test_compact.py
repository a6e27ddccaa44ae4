"""COMPACT TABLE, DROP USER … ERASE, placement: what they leave on disk, what they tell, and to whom."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, Server


@pytest.fixture
def alone(tmp_path):
    """A server of its own, since its files are looked at, with three users."""
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        users = []
        for name in ("ann", "bob", "eve"):
            admin.change(f"CREATE USER {name} PASSWORD 'p'")
            users.append(Login(server, name, "p"))
        yield server, admin, users
        for login in [admin, *users]:
            login.close()


def files(server) -> list:
    return sorted(server.data_dir.rglob("*.parquet"))


def test_a_compacted_table_is_one_file_with_the_same_answers(alone):
    server, admin, users = alone
    admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, v TEXT)")
    for round_ in range(3):
        for user in users:
            user.change(f"REPLACE INTO app.t VALUES (1, 'round {round_}'), ({round_ + 10}, '{user.name}')")
        admin.query("FLUSH TABLE app.t")
    users[0].change("DELETE FROM app.t WHERE id = 10")
    before = [user.rows("SELECT *, _deleted FROM app.t ORDER BY id") for user in users]
    compacted = admin.query("COMPACT TABLE app.t").to_pylist()
    # How many rows it had to write depends on what the background has done before it.
    assert len(compacted) == 1 and compacted[0]["files"] == 1 and compacted[0]["rows"] is not None, compacted
    assert compacted[0]["bytes"] == os.path.getsize(files(server)[0])
    assert [user.rows("SELECT *, _deleted FROM app.t ORDER BY id") for user in users] == before
    assert len(files(server)) == 1 and not list(server.data_dir.rglob("*.dv"))
    # Others may ask for it, and are told nothing of how much there is.
    [told] = users[1].query("COMPACT TABLE app.t").to_pylist()
    assert (told["namespace"], told["table"]) == ("app", "t")
    assert all(told[name] is None for name in told if name not in ("namespace", "table"))


def test_an_erased_user_is_in_no_file(alone):
    server, admin, (ann, bob, eve) = alone
    admin.change("CREATE TABLE app.t (id TEXT PRIMARY KEY, v BYTEA)")
    # Neither compression can shorten it, so its bytes lie as they are.
    canary, key = os.urandom(4000), "erased-" + os.urandom(12).hex()
    for user, value in ((ann, canary), (bob, os.urandom(4000)), (eve, os.urandom(4000))):
        table = pa.table({"id": [key if user is ann else "other"], "v": pa.array([value], pa.binary())})
        user.ingest("app.t", table)
    admin.query("FLUSH TABLE app.t")
    ann.change(f"DELETE FROM app.t WHERE id = '{key}'")

    def found():
        needles = (canary[100:116], canary[-116:-100], key[10:].encode())
        paths = [path for path in server.data_dir.rglob("*") if path.is_file()]
        raw = [path for path in paths if any(needle in path.read_bytes() for needle in needles)]
        rows = [path for path in files(server) if key in str(pq.read_table(path)["c1"].to_pylist())]
        return raw + rows

    assert found()
    ann.close()
    [report] = admin.query("DROP USER ann ERASE").to_pylist()
    assert report["user"] == "ann" and report["tables"] == 1 and report["files"] >= 1 and report["rows"] >= 1, report
    assert found() == []
    assert bob.query("SELECT * FROM app.t").num_rows == 1 and eve.query("SELECT * FROM app.t").num_rows == 1
    # The name is free, and whoever takes it starts empty.
    admin.change("CREATE USER ann PASSWORD 'p'")
    assert ann.query("SELECT * FROM app.t WHERE _deleted OR NOT _deleted").num_rows == 0


def test_erase_is_for_admins_and_for_users_that_there_are(alone, refused):
    _, admin, (ann, *_) = alone
    with refused("PermissionDenied"):
        ann.query("DROP USER bob ERASE")
    with refused("NotFound"):
        admin.query("DROP USER nobody ERASE")
    assert admin.query("DROP USER IF EXISTS nobody ERASE").num_rows == 0
    with refused("FailedPrecondition"):
        admin.query("DROP USER admin ERASE")


def test_placement_by_file_keeps_users_apart(alone):
    server, admin, users = alone
    admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY) WITH (placement = 'file')")
    for user in users:
        user.change("INSERT INTO app.t VALUES (1), (2)")
    admin.query("FLUSH TABLE app.t")
    owners = [set(pq.read_table(path)["_user_no"].to_pylist()) for path in files(server)]
    assert len(owners) == 3 and all(len(owner) == 1 for owner in owners)
    admin.query("COMPACT TABLE app.t")
    assert len(files(server)) == 3


def test_a_dropped_table_leaves_no_file(alone, refused):
    server, admin, users = alone
    admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY)")
    users[0].change("INSERT INTO app.t VALUES (1)")
    admin.query("FLUSH TABLE app.t")
    users[0].change("INSERT INTO app.t VALUES (2)")
    [path] = files(server)
    size = os.path.getsize(path)
    admin.change("DROP TABLE app.t")
    assert not files(server)
    # How much that was is told afterwards, to administrators.
    [dropped, flushed] = admin.query("SHOW JOBS").to_pylist()
    assert (flushed["job"], flushed["rows"], flushed["files"], flushed["bytes"]) == ("flush", 1, 1, size)
    assert (dropped["job"], dropped["namespace"], dropped["table"], dropped["state"]) == ("drop", "app", "t", "done")
    assert dropped["files"] == 1 and size < dropped["bytes"] < size + 1000, (dropped, size)
    with refused("PermissionDenied", "SHOW JOBS"):
        users[0].query("SHOW JOBS")
