"""UPDATE and DELETE by any predicate, over hot rows, cold rows and both; REPLACE, keys, defaults."""

import pytest

# name → the condition, and the ids of 0..9 that it takes; `picks` holds 1, 3, 5, and a null in `maybe`.
CONDITIONS = {
    "in": ("id IN (SELECT id FROM {ns}.picks)", {1, 3, 5}),
    "not in": ("id NOT IN (SELECT id FROM {ns}.picks)", {0, 2, 4, 6, 7, 8, 9}),
    "not in with a null": ("id NOT IN (SELECT maybe FROM {ns}.picks)", set()),
    "exists": ("EXISTS (SELECT 1 FROM {ns}.picks p WHERE p.id = items.id AND p.id > 1)", {3, 5}),
    "not exists": ("NOT EXISTS (SELECT 1 FROM {ns}.picks p WHERE p.id = items.id)", {0, 2, 4, 6, 7, 8, 9}),
    "uncorrelated exists": ("EXISTS (SELECT 1 FROM {ns}.picks WHERE id > 100)", set()),
    "scalar": ("id > (SELECT max(id) FROM {ns}.picks)", {6, 7, 8, 9}),
    "correlated scalar": ("size = (SELECT max(p.id) FROM {ns}.picks p WHERE p.id = items.id)", {1, 3, 5}),
    "correlated count": ("0 = (SELECT count(*) FROM {ns}.picks p WHERE p.id = items.id)", {0, 2, 4, 6, 7, 8, 9}),
    "of the table itself": ("id = (SELECT max(id) FROM {ns}.items)", {9}),
    "plain": ("id % 2 = 0 AND name <> 'n4'", {0, 2, 6, 8}),
    "non-key column": ("size IN (2, 3)", {2, 3}),
    "unknown is not true": ("NULL > id", set()),
}
TEMPERATURES = ["hot", "cold", "mixed"]


@pytest.fixture
def tens(admin, alice, bob, namespace, items):
    """Ids 0..9 of two users, at the asked temperature."""
    admin.change(f"CREATE USER TABLE {namespace}.picks (id BIGINT PRIMARY KEY, maybe BIGINT)")

    def fill(temperature: str) -> str:
        for user in (alice, bob):
            user.change(f"INSERT INTO {namespace}.picks VALUES (1, 1), (3, NULL), (5, 5)")
            for i in range(10):
                # The mixed ones are half cold, half hot, and one cold row is shadowed by a newer hot version.
                if temperature == "mixed" and i == 5 and user is alice:
                    admin.change("FLUSH ALL")
                user.change(f"INSERT INTO {items} VALUES ({i}, 'n{i}', {i})")
            if temperature == "mixed":
                user.change(f"UPDATE {items} SET name = 'n3' WHERE id = 3")
        if temperature == "cold":
            admin.change("FLUSH ALL")
        return items

    return fill


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_delete_takes_exactly_its_rows(alice, bob, namespace, tens, condition, temperature):
    items, (text, taken) = tens(temperature), CONDITIONS[condition]
    assert alice.change(f"DELETE FROM {items} WHERE {text.format(ns=namespace)}") == len(taken)
    assert {row[0] for row in alice.rows(f"SELECT id FROM {items}")} == set(range(10)) - taken
    assert bob.rows(f"SELECT count(*), sum(size) FROM {items}") == [(10, 45)]


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_update_changes_exactly_its_rows(alice, bob, namespace, tens, condition, temperature):
    items, (text, taken) = tens(temperature), CONDITIONS[condition]
    assert alice.change(f"UPDATE {items} SET size = size + 100 WHERE {text.format(ns=namespace)}") == len(taken)
    want = [(i, f"n{i}", i + 100 if i in taken else i) for i in range(10)]
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == want
    assert bob.rows(f"SELECT count(*), sum(size) FROM {items}") == [(10, 45)]


def test_a_deleted_row_stays_gone(admin, alice, items, server):
    """Insert a, flush, delete a, insert b, flush: a tombstone dropped too early brings a back."""
    alice.change(f"INSERT INTO {items} VALUES (1, 'a', 1)")
    admin.change(f"FLUSH TABLE {items}")
    alice.change(f"DELETE FROM {items} WHERE id = 1")
    alice.change(f"INSERT INTO {items} VALUES (2, 'b', 2)")
    admin.change(f"FLUSH TABLE {items}")
    assert alice.rows(f"SELECT name FROM {items}") == [("b",)]
    assert alice.rows(f"SELECT name, _deleted FROM {items} ORDER BY id") == [("a", True), ("b", False)]
    alice.change(f"INSERT INTO {items} VALUES (1, 'a again', 1)")
    admin.change(f"FLUSH TABLE {items}")
    assert alice.rows(f"SELECT name FROM {items} ORDER BY id") == [("a again",), ("b",)]


def test_a_filter_does_not_resurrect_an_old_version(admin, alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'old', 1)")
    admin.change(f"FLUSH TABLE {items}")
    alice.change(f"UPDATE {items} SET name = 'new' WHERE id = 1")
    for _ in range(2):
        assert alice.rows(f"SELECT id FROM {items} WHERE name = 'old'") == []
        assert alice.rows(f"SELECT id FROM {items} WHERE name = 'new'") == [(1,)]
        admin.change(f"FLUSH TABLE {items}")


@pytest.mark.parametrize("flushed", [False, True])
def test_a_duplicate_key_writes_nothing_of_its_statement(admin, alice, items, refused, flushed):
    alice.change(f"INSERT INTO {items} VALUES (5, 'first', 1)")
    if flushed:
        admin.change(f"FLUSH TABLE {items}")
    with refused("AlreadyExists", "5"):
        alice.change(f"INSERT INTO {items} VALUES (4, 'x', 1), (5, 'second', 1), (6, 'x', 1)")
    with refused("AlreadyExists"):
        alice.change(f"INSERT INTO {items} VALUES (7, 'twice', 1), (7, 'twice', 1)")
    assert alice.rows(f"SELECT * FROM {items}") == [(5, "first", 1)]


def test_replace_into(admin, alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'old', 1), (2, 'kept', 2)")
    admin.change(f"FLUSH TABLE {items}")
    alice.change(f"REPLACE INTO {items} VALUES (1, 'new', 10), (3, 'added', 3)")
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "new", 10), (2, "kept", 2), (3, "added", 3)]


def test_a_key_in_another_column_position(admin, alice, namespace):
    """De-duplicating a flush by the first column instead of the key loses rows."""
    table = f"{namespace}.t"
    admin.change(f"CREATE TABLE {table} (note TEXT, b INT, a TEXT, PRIMARY KEY (a, b))")
    alice.change(f"INSERT INTO {table} VALUES ('same', 1, 'x'), ('same', 2, 'x'), ('same', 1, 'y')")
    admin.change(f"FLUSH TABLE {table}")
    alice.change(f"UPDATE {table} SET note = 'changed' WHERE a = 'x' AND b = 2")
    admin.change(f"FLUSH TABLE {table}")
    assert alice.rows(f"SELECT a, b, note FROM {table} ORDER BY a, b") == [
        ("x", 1, "same"),
        ("x", 2, "changed"),
        ("y", 1, "same"),
    ]


def test_a_table_without_a_key(admin, alice, namespace):
    table = f"{namespace}.t"
    admin.change(f"CREATE TABLE {table} (v INT)")
    for _ in range(2):
        alice.change(f"INSERT INTO {table} VALUES (1), (1), (2)")
        admin.change(f"FLUSH TABLE {table}")
    assert alice.change(f"UPDATE {table} SET v = 3 WHERE v = 1") == 4
    assert alice.change(f"DELETE FROM {table} WHERE v = 2") == 2
    assert alice.rows(f"SELECT v, count(*) FROM {table} GROUP BY v") == [(3, 4)]


def test_updating_a_key(admin, alice, items, refused):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1), (2, 'two', 2)")
    admin.change(f"FLUSH TABLE {items}")
    assert alice.change(f"UPDATE {items} SET id = id + 1") == 2
    assert alice.rows(f"SELECT id, name FROM {items} ORDER BY id") == [(2, "one"), (3, "two")]
    with refused("AlreadyExists"):
        alice.change(f"UPDATE {items} SET id = 9")
    assert alice.rows(f"SELECT id FROM {items} ORDER BY id") == [(2,), (3,)]


def test_defaults_and_not_null(alice, items, refused):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'one')")
    assert alice.rows(f"SELECT size FROM {items}") == [(7,)]
    with refused("InvalidArgument", "name"):
        alice.change(f"INSERT INTO {items} VALUES (2, NULL, 1)")
    with refused("InvalidArgument", "name"):
        alice.change(f"INSERT INTO {items} (id) VALUES (2)")
    with refused("InvalidArgument", "name"):
        alice.change(f"UPDATE {items} SET name = NULL")
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(1,)]


def test_insert_select_reads_its_snapshot(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'n', 1), (2, 'n', 2)")
    assert alice.change(f"INSERT INTO {items} SELECT id + 10, name, size FROM {items}") == 2
    assert alice.rows(f"SELECT id FROM {items} ORDER BY id") == [(1,), (2,), (11,), (12,)]


def test_shared_tables_are_read_by_all_and_written_by_admin(admin, alice, namespace, refused):
    table = f"{namespace}.codes"
    admin.change(f"CREATE SHARED TABLE {table} (code TEXT PRIMARY KEY, name TEXT)")
    admin.change(f"INSERT INTO {table} VALUES ('a', 'first')")
    assert alice.rows(f"SELECT * FROM {table}") == [("a", "first")]
    for statement in (
        f"INSERT INTO {table} VALUES ('b', 'x')",
        f"UPDATE {table} SET name = 'x'",
        f"DELETE FROM {table}",
    ):
        with refused("PermissionDenied", "codes"):
            alice.change(statement)
    admin.change(f"FLUSH TABLE {table}")
    assert alice.rows(f"SELECT * FROM {table}") == [("a", "first")]
