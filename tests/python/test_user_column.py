"""One load for many users: whose each row is stands in a column of the stream, which is not stored."""

import subprocess

import pyarrow as pa
import pytest

from conftest import NUMBERS, quoted
from demo import adbc
from demo.server import ADMIN_PASSWORD, binary

SCHEMA = pa.schema([("who", pa.string()), pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])


def rows(*given) -> pa.RecordBatch:
    who, ids, names = zip(*given)
    return pa.record_batch({"who": who, "id": ids, "name": names}, schema=SCHEMA)


@pytest.fixture
def load(server):
    """Ingests as somebody whose connection names the user column."""
    opened = []

    def ingest(login, table, data, mode="append", column="who") -> int:
        opened.append(adbc.connect(server.url, login.name, login.password, x_insula_user_column=column))
        return adbc.ingest(opened[-1], table, data, mode)

    yield ingest
    for connection in opened:
        connection.close()


def test_each_user_has_their_rows_and_nobody_the_others(admin, alice, bob, new_user, items, load):
    stranger = f"new {next(NUMBERS)} 'ü'"
    given = [(bob.name, 1, "b"), (alice.name, 1, "a"), (stranger, 1, "s"), (alice.name, 2, "aa")]
    assert load(admin, items, rows(*given)) == 4
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "a", 7), (2, "aa", 7)]
    assert bob.rows(f"SELECT * FROM {items}") == [(1, "b", 7)]
    assert admin.rows(f"SELECT count(*) FROM {items}") == [(0,)]
    # A name that nobody had yet is somebody's from now on.
    admin.change(f"ALTER USER {quoted(stranger)} PASSWORD 'first'")
    login = adbc.connect(admin.server.url, stranger, "first")
    assert adbc.query(login, f"SELECT * FROM {items}").to_pylist() == [{"id": 1, "name": "s", "size": 7}]
    login.close()
    # The rows are like any others.
    assert alice.change(f"UPDATE {items} SET name = 'x' WHERE id = 2") == 1
    assert alice.change(f"DELETE FROM {items} WHERE id = 1") == 1
    admin.change(f"FLUSH TABLE {items}")
    assert alice.rows(f"SELECT * FROM {items}") == [(2, "x", 7)]
    assert alice.rows(f"SELECT count(DISTINCT _seq), min(_seq) > 0, max(_updated) > '2020-01-01' FROM {items}") == [
        (1, True, True)
    ]


def test_all_or_nothing(admin, alice, bob, items, load, refused):
    bob.change(f"INSERT INTO {items} (id, name) VALUES (5, 'mine')")
    with refused("AlreadyExists", "(id)=(5)"):
        load(admin, items, rows((alice.name, 5, "a"), (bob.name, 4, "b"), (bob.name, 5, "b")))
    with refused("InvalidArgument", "NULL"):
        load(admin, items, rows((alice.name, 6, "a"), (None, 7, "b")))
    with refused("InvalidArgument", "user name"):
        load(admin, items, rows((alice.name, 6, "a"), ("", 7, "b")))
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]
    assert bob.rows(f"SELECT * FROM {items}") == [(5, "mine", 7)]


def test_the_role_service_may_and_users_may_not(admin, alice, bob, items, load, refused):
    with refused("PermissionDenied", "service"):
        load(alice, items, rows((alice.name, 1, "a")))
    admin.change(f"ALTER USER {quoted(alice.name)} ROLE service")
    assert load(alice, items, rows((bob.name, 1, "b"))) == 1
    assert bob.rows(f"SELECT name FROM {items}") == [("b",)]


def test_what_does_not_fit_is_refused(admin, namespace, items, load, refused):
    with refused("InvalidArgument", "whom", "who, id, name"):
        load(admin, items, rows(("a", 1, "a")), column="whom")
    with refused("InvalidArgument", "text"):
        load(admin, items, rows(("a", 1, "a")), column="id")
    with refused("InvalidArgument", "of its own"):
        load(admin, items, pa.table({"id": [1], "name": ["x"]}), column="name")
    admin.change(f"CREATE SHARED TABLE {namespace}.prices (id BIGINT PRIMARY KEY, name TEXT)")
    with refused("InvalidArgument", "shared"):
        load(admin, f"{namespace}.prices", rows(("a", 1, "a")))
    assert admin.rows(f"SELECT count(*) FROM {items}") == [(0,)]


def test_a_table_that_the_load_makes(admin, alice, namespace, load):
    assert load(admin, f"{namespace}.made", rows((alice.name, 1, "a"), ("admin", 2, "b")), "create") == 2
    assert alice.rows(f"SELECT * FROM {namespace}.made") == [(1, "a")]
    assert admin.rows(f"SELECT * FROM {namespace}.made") == [(2, "b")]


def test_import_with_a_user_column(admin, alice, bob, items, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(f"id,who,name\n1,{alice.name},a\n2,{bob.name},b\n3,{alice.name},c\n")
    command = [binary(), "import", file, "--into", items, "--user-column", "who"]
    command += ["--url", admin.server.url, "--user", "admin", "--password", ADMIN_PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "3 rows" in done.stderr, done.stderr
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "a", 7), (3, "c", 7)]
    assert bob.rows(f"SELECT * FROM {items}") == [(2, "b", 7)]


def test_many_new_users_in_one_load(admin, items, load):
    # Enough for several groups of names; each user has rows in both halves, so every file overlaps the next.
    prefix, users = f"crowd {next(NUMBERS)} ", 20_000
    batches = []
    for half in range(2):
        for start in range(0, users, 5_000):
            numbers = [number for number in range(start, start + 5_000) for _ in range(10)]
            ids = [half * 10 + at % 10 for at in range(len(numbers))]
            who = [f"{prefix}{number}" for number in numbers]
            batches.append(pa.record_batch({"who": who, "id": ids, "name": who}, schema=SCHEMA))
    assert load(admin, items, pa.RecordBatchReader.from_batches(SCHEMA, batches)) == 20 * users
    for number in (0, 7_777, users - 1):
        name = f"{prefix}{number}"
        admin.change(f"ALTER USER {quoted(name)} PASSWORD 'p'")
        login = adbc.connect(admin.server.url, name, "p")
        found = adbc.query(login, f"SELECT count(*) c, count(DISTINCT id) d, min(name) a, max(name) b FROM {items}")
        assert found.to_pylist() == [{"c": 20, "d": 20, "a": name, "b": name}]
        login.close()
