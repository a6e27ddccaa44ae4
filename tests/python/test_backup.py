"""BACKUP and RESTORE: all rows of all users, at one moment, while they write; and nothing where something is wrong."""

import threading

import pytest

from conftest import Login
from demo import adbc
from demo.server import ADMIN_PASSWORD, Server

USERS = 4
BATCH = 5


@pytest.fixture
def servers(tmp_path):
    """Makes servers with directories of their own."""
    made = []

    def make(name: str) -> tuple[Server, Login]:
        server = Server(tmp_path / name)
        server.__enter__()
        made.append((server, Login(server, "admin", ADMIN_PASSWORD)))
        return made[-1]

    yield make
    for server, admin in made:
        admin.close()
        server.__exit__(None, None, None)


def filled(admin: Login) -> list[Login]:
    admin.change("CREATE NAMESPACE app")
    admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, batch BIGINT, note TEXT)")
    admin.change("CREATE TABLE app.bag (v TEXT)")
    admin.change("CREATE SHARED TABLE app.shared (k INT PRIMARY KEY)")
    admin.change("INSERT INTO app.shared VALUES (1), (2)")
    users = []
    for i in range(USERS):
        admin.change(f"CREATE USER u{i} PASSWORD 'p{i}'")
        users.append(Login(admin.server, f"u{i}", f"p{i}"))
        rows = ", ".join(f"({n}, -1, 'u{i}')" for n in range(-100 - i, 0))
        users[-1].change(f"INSERT INTO app.t VALUES {rows}")
        users[-1].change(f"INSERT INTO app.bag VALUES ('u{i}'), ('u{i}'), (NULL)")
    admin.query("FLUSH TABLE app.t")
    admin.change("ALTER TABLE app.t ADD COLUMN extra INT NOT NULL DEFAULT 3, DROP COLUMN note")
    for user in users:
        user.change("DELETE FROM app.t WHERE id BETWEEN -10 AND -6")
        user.change("UPDATE app.t SET extra = 4 WHERE id = -50")
    return users


def contents(users: list[Login]) -> list:
    tables = ["SELECT *, _deleted, _seq, _updated FROM app.t ORDER BY id", "SELECT v, _seq FROM app.bag ORDER BY v",
              "SELECT * FROM app.shared ORDER BY k"]
    return [[user.rows(sql) for sql in tables] for user in users]


def test_everything_comes_back(servers, tmp_path, refused):
    server, admin = servers("one")
    users = filled(admin)
    before, history = contents(users), admin.rows("DESCRIBE TABLE app.t HISTORY")
    url = f"file://{tmp_path}/backup"
    taken = admin.rows(f"BACKUP DATABASE TO '{url}'")
    assert taken[0][0] == 3 and taken[0][1] > 3
    assert contents(users) == before
    with refused("AlreadyExists", "backup"):
        admin.query(f"BACKUP DATABASE TO '{url}'")
    with refused("PermissionDenied"):
        users[0].query(f"BACKUP DATABASE TO 'file://{tmp_path}/mine'")
    with refused("FailedPrecondition", "fresh data directory"):
        admin.query(f"RESTORE DATABASE FROM '{url}'")

    other, new_admin = servers("two")
    with refused("NotFound"):
        new_admin.query(f"RESTORE DATABASE FROM 'file://{tmp_path}/nowhere'")
    assert new_admin.rows(f"RESTORE DATABASE FROM '{url}'") == taken
    restored = [Login(other, user.name, user.password) for user in users]
    assert contents(restored) == before
    assert new_admin.rows("DESCRIBE TABLE app.t HISTORY") == history
    restored[0].change("INSERT INTO app.t (id) VALUES (1)")
    new_admin.query("FLUSH ALL")
    assert contents(restored)[1:] == before[1:]
    assert len(contents(restored)[0][0]) == len(before[0][0]) + 1
    for login in [*users, *restored]:
        login.close()


def test_a_backup_is_one_moment_while_users_write(servers, tmp_path):
    server, admin = servers("one")
    users, done, failures = filled(admin), threading.Event(), []

    def write(user):
        try:
            connection, n = user.connect(), 0
            while not done.is_set():
                rows = ", ".join(f"({n * BATCH + i}, {n})" for i in range(BATCH))
                adbc.change(connection, f"INSERT INTO app.t (id, batch) VALUES {rows}")
                n += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    urls = [f"file://{tmp_path}/backup{i}" for i in range(3)]
    for url in urls:
        floor = [user.rows("SELECT count(*) FROM app.t WHERE id >= 0")[0][0] for user in users]
        admin.query(f"BACKUP DATABASE TO '{url}'")
        admin.query("FLUSH TABLE app.t")
    done.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]

    other, new_admin = servers("two")
    new_admin.query(f"RESTORE DATABASE FROM '{urls[-1]}'")
    for user, least in zip(users, floor):
        restored = Login(other, user.name, user.password)
        rows = restored.rows("SELECT id, batch FROM app.t WHERE id >= 0 ORDER BY id")
        # What was acknowledged before is there, and of each statement all rows or none.
        assert len(rows) >= least and len(rows) % BATCH == 0
        assert rows == [(n, n // BATCH) for n in range(len(rows))]
        restored.close()
        user.close()


def test_a_damaged_backup_is_refused(servers, tmp_path, refused):
    _, admin = servers("one")
    for login in filled(admin):
        login.close()
    admin.query(f"BACKUP DATABASE TO 'file://{tmp_path}/backup'")
    file = next((tmp_path / "backup").rglob("*.parquet"))
    good = file.read_bytes()
    file.write_bytes(good[:99] + bytes([good[99] ^ 1]) + good[100:])
    _, new_admin = servers("two")
    with refused("DataLoss", "checksum"):
        new_admin.query(f"RESTORE DATABASE FROM 'file://{tmp_path}/backup'")
    assert new_admin.rows("SHOW TABLES") == []
    file.write_bytes(good)
    assert new_admin.rows(f"RESTORE DATABASE FROM 'file://{tmp_path}/backup'")[0][0] == 3
