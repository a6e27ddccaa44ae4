"""ALTER TABLE through ADBC: what clients see of it, over fresh rows and over files, and while others write."""

import threading

import pyarrow as pa
import pytest

from demo import adbc

CASES = {
    "DROP COLUMN id": ("FailedPrecondition", "primary key"),
    "ALTER COLUMN id TYPE SMALLINT": ("FailedPrecondition", "primary key"),
    "ALTER COLUMN size TYPE SMALLINT": ("InvalidArgument", "size", "widens"),
    "ALTER COLUMN name TYPE INT": ("InvalidArgument", "name"),
    "ALTER COLUMN nam TYPE TEXT": ("InvalidArgument", "nam", "name"),
    "ADD COLUMN size INT": ("AlreadyExists", "size"),
    "ADD COLUMN extra INT NOT NULL": ("InvalidArgument", "DEFAULT"),
    "ADD COLUMN extra INT DEFAULT 'x'": ("InvalidArgument",),
    "ADD COLUMN _seq BIGINT": ("InvalidArgument", "_seq"),
    "ADD COLUMN extra INT PRIMARY KEY": ("FailedPrecondition", "primary key"),
    "RENAME COLUMN name TO size": ("AlreadyExists", "size"),
    "ADD COLUMN extra INT, DROP COLUMN nowhere": ("InvalidArgument", "nowhere"),
    "DROP COLUMN name, DROP COLUMN size, DROP COLUMN id": ("FailedPrecondition",),
    "SET (flush_rowz = 3)": ("InvalidArgument", "flush_rowz", "flush_rows"),
    "RENAME TO elsewhere.items": ("InvalidArgument", "namespace"),
    "SET (ttl = '1 hour')": ("InvalidArgument", "ttl", "flush_rows"),
}


@pytest.mark.parametrize("actions", CASES)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(admin, alice, items, refused, actions):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a')")
    before = alice.rows(f"DESCRIBE {items}")
    with refused(*CASES[actions]):
        admin.change(f"ALTER TABLE {items} {actions}")
    assert alice.rows(f"DESCRIBE {items}") == before
    assert alice.rows(f"SELECT * FROM {items}") == [(1, "a", 7)]


@pytest.mark.parametrize("flushed", [False, True])
def test_columns_come_go_and_change(admin, alice, bob, items, flushed):
    for user in (alice, bob):
        user.change(f"INSERT INTO {items} VALUES (1, '{user.name}', 30000), (2, 'x', NULL)")
    if flushed:
        admin.query(f"FLUSH TABLE {items}")
    admin.change(
        f"ALTER TABLE {items} ADD COLUMN price DECIMAL(6, 2) NOT NULL DEFAULT 9.99, RENAME COLUMN name TO title, "
        "ALTER COLUMN size SET DATA TYPE BIGINT, ADD COLUMN IF NOT EXISTS price INT, DROP COLUMN IF EXISTS nowhere"
    )
    table = alice.query(f"SELECT * FROM {items} WHERE price > 9 AND (size = 30000 OR size IS NULL) ORDER BY id")
    assert table.schema.field("size").type == pa.int64() and table.schema.field("price").type == pa.decimal128(6, 2)
    assert [row["title"] for row in table.to_pylist()] == [alice.name, "x"]
    assert alice.rows(f"SELECT count(*) FROM {items} WHERE price < 9") == [(0,)]
    bob.change(f"UPDATE {items} SET size = 5000000000 WHERE id = 2")
    assert bob.rows(f"SELECT id, size FROM {items} WHERE size > 40000") == [(2, 5_000_000_000)]
    # What comes back under its old name is another column.
    admin.change(f"ALTER TABLE {items} DROP COLUMN title")
    admin.change(f"ALTER TABLE {items} ADD COLUMN title TEXT")
    assert alice.rows(f"SELECT title FROM {items}") == [(None,), (None,)]
    assert [row[0] for row in alice.rows(f"DESCRIBE {items}")] == ["id", "size", "price", "title"]
    alice.ingest(items, pa.table({"id": [9], "title": ["new"]}))
    admin.query(f"FLUSH TABLE {items}")
    assert alice.rows(f"SELECT id, size, title FROM {items} WHERE title IS NOT NULL") == [(9, 7, "new")]


def test_defaults_are_for_rows_to_come(admin, alice, items):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a')")
    admin.change(f"ALTER TABLE {items} ADD COLUMN n INT DEFAULT 1")
    admin.change(f"ALTER TABLE {items} ALTER COLUMN n SET DEFAULT 2, ALTER name DROP NOT NULL, ALTER size DROP DEFAULT")
    alice.change(f"INSERT INTO {items} (id) VALUES (2)")
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "a", 7, 1), (2, None, None, 2)]


def test_a_volatile_default_is_evaluated_once(admin, alice, items):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a'), (2, 'b')")
    admin.change(f"ALTER TABLE {items} ADD COLUMN u TEXT DEFAULT CAST(uuid() AS TEXT)")
    before = alice.rows(f"SELECT u FROM {items} ORDER BY id")
    assert before[0] == before[1] and before[0][0]
    admin.query(f"FLUSH TABLE {items}")
    assert alice.rows(f"SELECT u FROM {items} ORDER BY id") == before


def test_the_history_tells_what_changed(admin, alice, items):
    admin.change(f"ALTER TABLE {items} ADD COLUMN a INT DEFAULT 3, SET (flush_rows = 77)")
    admin.change(f"ALTER TABLE {items} RENAME COLUMN a TO b")
    history = admin.rows(f"DESCRIBE TABLE {items} HISTORY")
    assert [row[0] for row in history] == [1, 2, 3]
    assert "flush_rows = 77" in history[1][2] and 'ADD COLUMN "a"' in history[1][2] and "DEFAULT 3" in history[1][2]
    assert [row[3] for row in history[1:]] == ["admin", "admin"]
    assert history[0][1] <= history[1][1] <= history[2][1]
    # Names of others are not for everyone.
    assert [row[3] for row in alice.rows(f"DESCRIBE TABLE {items} HISTORY")] == [None] * 3


def test_only_admins_alter(alice, items, refused):
    with refused("PermissionDenied", "ALTER TABLE"):
        alice.change(f"ALTER TABLE {items} ADD COLUMN a INT")


def test_metadata_and_prepared_statements_follow(admin, alice, items):
    connection = alice.connection
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a')")
    with connection.cursor() as cursor:
        cursor.adbc_prepare(f"SELECT * FROM {items}")
        assert cursor.execute(f"SELECT * FROM {items}").fetch_arrow_table().num_columns == 3
        admin.change(f"ALTER TABLE {items} ADD COLUMN a INT DEFAULT 3, DROP COLUMN size")
        # The statement is planned anew, and says so before its rows come.
        assert cursor.execute(f"SELECT * FROM {items}").fetchall() == [(1, "a", 3)]
        assert [column[0] for column in cursor.description] == ["id", "name", "a"]
    assert alice.rows(f"SELECT * FROM {items}") == [(1, "a", 3)]
    namespace, name = items.split(".")
    assert connection.adbc_get_table_schema(name, db_schema_filter=namespace).names == ["id", "name", "a"]


def test_options_take_effect_at_once(admin, alice, items):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a'), (2, 'b')")
    admin.change(f"ALTER TABLE {items} SET (flush_rows = 2)")
    pause = threading.Event()
    for _ in range(400):
        if "HotExec" not in str(alice.rows(f"EXPLAIN SELECT * FROM {items}")):
            break
        pause.wait(0.05)
    else:
        pytest.fail("the table was not flushed")
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(2,)]


def test_writers_run_while_columns_come_and_go(admin, new_user, items):
    users, failures, written = [new_user() for _ in range(3)], [], {}
    done = threading.Event()

    def write(user):
        try:
            connection, n = user.connect(), 0
            while not done.is_set() or n < 20:
                n += 1
                adbc.change(connection, f"INSERT INTO {items} (id, name) VALUES ({n}, 'v')")
                if n % 3 == 0:
                    adbc.change(connection, f"UPDATE {items} SET name = 'w' WHERE id = {n}")
                rows = adbc.query(connection, f"SELECT count(*), sum(id) FROM {items}").to_pylist()[0]
                if list(rows.values()) != [n, n * (n + 1) // 2]:
                    failures.append((n, rows))
            written[user.name] = n
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for i in range(15):
        admin.change(f"ALTER TABLE {items} ADD COLUMN c{i} INT NOT NULL DEFAULT {i}")
        if i % 2:
            admin.change(f"ALTER TABLE {items} DROP COLUMN c{i - 1}")
        if i % 4 == 0:
            admin.query(f"FLUSH TABLE {items}")
    done.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    for user in users:
        n = written[user.name]
        rows = user.rows(f"SELECT id, name, c1, c14 FROM {items} ORDER BY id")
        assert rows == [(i, "w" if i % 3 == 0 else "v", 1, 14) for i in range(1, n + 1)]


def test_a_renamed_table_keeps_rows_grants_and_history(admin, namespace, alice, refused):
    old, new = f"{namespace}.before", f"{namespace}.after"
    admin.change(f"CREATE SHARED TABLE {old} (id BIGINT PRIMARY KEY) WITH (grants = 'none')")
    admin.change(f'GRANT SELECT ON {old} TO "{alice.name}"')
    admin.change(f"INSERT INTO {old} VALUES (1)")
    admin.change(f"FLUSH TABLE {old}")
    admin.change(f"INSERT INTO {old} VALUES (2)")
    with alice.connection.cursor() as prepared:
        text = f"SELECT id FROM {old} WHERE id = $1"
        assert prepared.execute(text, [1]).fetchall() == [(1,)]
        admin.change(f"ALTER TABLE {old} RENAME TO after")
        with refused("NotFound", "before"):
            prepared.execute(text, [1]).fetchall()
    assert alice.rows(f"SELECT id FROM {new} ORDER BY id") == [(1,), (2,)]
    with refused("NotFound"):
        alice.rows(f"SELECT id FROM {old}")
    assert admin.rows(f"DESCRIBE TABLE {new} HISTORY")[-1][2] == 'RENAME TO "after"'
    admin.change(f"CREATE TABLE {old} (id INT)")
    with refused("AlreadyExists", "after"):
        admin.change(f"ALTER TABLE {old} RENAME TO {new}")
    with refused("InvalidArgument", "public.after"):
        admin.change(f"ALTER TABLE {old} RENAME TO public.after")
    admin.change(f"ALTER TABLE IF EXISTS {namespace}.nobody RENAME TO somebody")
    with refused("NotFound"):
        admin.change(f"ALTER TABLE {namespace}.nobody RENAME TO somebody")
    # Both names may change places, since the rows go by the table's number.
    admin.change(f"ALTER TABLE {new} RENAME TO third")
    admin.change(f"ALTER TABLE {old} RENAME TO after")
    assert alice.rows(f"SELECT id FROM {namespace}.third ORDER BY id") == [(1,), (2,)]
    assert alice.rows(f"SELECT id FROM {new}") == []
