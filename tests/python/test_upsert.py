"""INSERT … ON CONFLICT and MERGE through the driver: hot and cold, prepared, many rows, transactions, shared tables."""

import pyarrow as pa
import pytest

UPSERT = "INSERT INTO {t} VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET size = {n}.size + excluded.size"


@pytest.fixture(params=["hot", "cold", "mixed"])
def filled(request, admin, alice, bob, items):
    """Ids 0 to 4 of two users."""
    for user in (alice, bob):
        user.change(f"INSERT INTO {items} VALUES (0, 'n0', 0), (1, 'n1', 10), (2, 'n2', 20), (3, 'n3', 30), (4, 'n4', 40)")
    if request.param != "hot":
        admin.change(f"FLUSH TABLE {items}")
    if request.param == "mixed":
        alice.change(f"UPDATE {items} SET name = 'n3' WHERE id = 3")
        alice.change(f"DELETE FROM {items} WHERE id = 0")
        alice.change(f"INSERT INTO {items} VALUES (0, 'n0', 0)")
    return items


def untouched(bob, items):
    assert bob.rows(f"SELECT count(*), sum(size), count(DISTINCT _seq) FROM {items}") == [(5, 100, 1)]


def test_do_nothing(alice, bob, filled):
    sql = f"INSERT INTO {filled} (id, name) VALUES (1, 'x'), (7, 'first'), (7, 'second') ON CONFLICT DO NOTHING"
    assert alice.change(sql) == 1
    assert alice.rows(f"SELECT name, size FROM {filled} WHERE id IN (1, 7) ORDER BY id") == [("n1", 10), ("first", 7)]
    assert alice.change(f"INSERT OR IGNORE INTO {filled} SELECT id, 'x', 0 FROM {filled}") == 0
    untouched(bob, filled)


def test_do_update(alice, bob, filled):
    sql = f"""INSERT INTO {filled} AS old SELECT id + 3, 'new', 1 FROM {filled}
              ON CONFLICT (id) DO UPDATE SET size = old.size + excluded.size WHERE old.size < 40"""
    assert alice.change(sql) == 4
    sizes = alice.rows(f"SELECT id, name, size FROM {filled} WHERE id > 2 ORDER BY id")
    assert sizes == [(3, "n3", 31), (4, "n4", 40), (5, "new", 1), (6, "new", 1), (7, "new", 1)]
    untouched(bob, filled)


def test_prepared_with_one_row_and_with_many(alice, bob, filled):
    upsert = UPSERT.format(t=filled, n="items")
    assert alice.change(upsert, [(1, "x", 1)]) == 1
    assert alice.change(upsert, [(i, f"n{i}", 1) for i in range(1_000)]) == 1_000
    assert alice.change(upsert, [(5, "x", 10), (6, "x", 10), (5, "x", 100)]) == 3
    rows = alice.rows(f"SELECT size FROM {filled} WHERE id IN (1, 4, 5, 6, 999) ORDER BY id")
    assert rows == [(12,), (41,), (111,), (11,), (1,)]
    with alice.connection.cursor() as cursor:
        assert cursor.adbc_prepare(upsert).types == [pa.int64(), pa.string(), pa.int32()]
    untouched(bob, filled)


def test_a_counter_is_counted_once(alice, items):
    """However the driver sends it, the statement runs once."""
    sql = f"INSERT INTO {items} VALUES (1, 'hits', 1) ON CONFLICT DO UPDATE SET size = items.size + 1"
    for n in range(1, 6):
        with alice.connection.cursor() as cursor:
            cursor.execute(sql)
        assert alice.rows(f"SELECT size FROM {items}") == [(2 * n - 1,)]
        assert alice.change(sql) == 1


def test_what_is_refused_leaves_nothing(alice, bob, filled, refused):
    before = alice.rows(f"SELECT *, _seq FROM {filled} ORDER BY id")
    with refused("InvalidArgument", "a second time"):
        alice.change(f"INSERT INTO {filled} VALUES (8, 'a', 1), (9, 'a', 1), (9, 'b', 2) ON CONFLICT DO UPDATE SET size = 1")
    with refused("AlreadyExists", "(id)=(2)"):
        alice.change(f"INSERT INTO {filled} VALUES (8, 'a', 1), (1, 'a', 1) ON CONFLICT DO UPDATE SET id = 2")
    with refused("InvalidArgument", "name"):
        alice.change(f"INSERT INTO {filled} VALUES (8, 'a', 1), (1, NULL, 1) ON CONFLICT DO NOTHING")
    with refused("InvalidArgument", "(id)"):
        alice.change(f"INSERT INTO {filled} VALUES (8, 'a', 1) ON CONFLICT (name) DO NOTHING")
    with refused("InvalidArgument", "a second time"):
        alice.change(f"""MERGE INTO {filled} AS t USING (VALUES (1), (1)) AS s (id) ON t.id = s.id
                         WHEN MATCHED THEN UPDATE SET size = 0""")
    assert alice.rows(f"SELECT *, _seq FROM {filled} ORDER BY id") == before
    untouched(bob, filled)


def test_merge(alice, bob, admin, namespace, filled):
    admin.change(f"CREATE TABLE {namespace}.changes (id BIGINT, size INT)")
    alice.change(f"INSERT INTO {namespace}.changes VALUES (1, NULL), (2, 5), (9, 9), (10, 0)")
    sql = f"""MERGE INTO {filled} AS t USING {namespace}.changes AS s ON t.id = s.id
              WHEN MATCHED AND s.size IS NULL THEN DELETE
              WHEN MATCHED THEN UPDATE SET size = t.size + s.size, name = name || '+'
              WHEN NOT MATCHED AND s.size = 0 THEN DO NOTHING
              WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'merged')"""
    assert alice.change(sql) == 3
    rows = [(0, "n0", 0), (2, "n2+", 25), (3, "n3", 30), (4, "n4", 40), (9, "merged", 7)]
    assert alice.rows(f"SELECT * FROM {filled} ORDER BY id") == rows
    assert alice.rows(f"SELECT id FROM {filled} WHERE _deleted") == [(1,)]
    # Bob has no changes, so all of his rows are without a match, and none of anybody else's.
    assert bob.change(f"""MERGE INTO {filled} AS t USING {namespace}.changes AS s ON t.id = s.id
                          WHEN NOT MATCHED BY SOURCE AND t.id > 2 THEN DELETE""") == 2
    assert alice.rows(f"SELECT * FROM {filled} ORDER BY id") == rows


def test_merge_with_parameters(alice, filled):
    sql = f"""MERGE INTO {filled} AS t USING (VALUES (CAST(? AS BIGINT), CAST(? AS INT))) AS s (id, size) ON t.id = s.id
              WHEN MATCHED THEN UPDATE SET size = t.size + s.size
              WHEN NOT MATCHED THEN INSERT (id, name, size) VALUES (s.id, ?, s.size)"""
    assert alice.change(sql, [(1, 1, "a"), (50, 1, "b"), (50, 2, "c")]) == 3
    assert alice.rows(f"SELECT id, name, size FROM {filled} WHERE id IN (1, 50) ORDER BY id") == [(1, "n1", 11), (50, "b", 3)]


def test_within_a_transaction(alice, filled):
    upsert = UPSERT.format(t=filled, n="items")
    alice.change("BEGIN")
    assert alice.change(upsert, [(1, "x", 5), (70, "x", 5), (70, "x", 5)]) == 3
    assert alice.change(f"INSERT INTO {filled} VALUES (70, 'y', 0), (71, 'y', 0) ON CONFLICT DO NOTHING") == 1
    assert alice.rows(f"SELECT id, size FROM {filled} WHERE id IN (1, 70, 71) ORDER BY id") == [(1, 15), (70, 10), (71, 0)]
    alice.change("ROLLBACK")
    assert alice.rows(f"SELECT id, size FROM {filled} WHERE id IN (1, 70, 71)") == [(1, 10)]
    alice.change("BEGIN")
    alice.change(f"MERGE INTO {filled} AS t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN DELETE")
    alice.change("COMMIT")
    assert alice.rows(f"SELECT id FROM {filled} WHERE id = 1") == []


def test_of_two_committers_the_second_is_aborted(alice, items, refused):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    other = alice.connect()
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"INSERT INTO {items} VALUES (1, 'x', 1) ON CONFLICT DO UPDATE SET size = items.size + 1")
        alice.change(f"UPDATE {items} SET size = 100 WHERE id = 1")
        with refused("Aborted"):
            cursor.execute("COMMIT")
        cursor.execute("ROLLBACK")
    assert alice.rows(f"SELECT size FROM {items}") == [(100,)]


def test_shared_tables_have_one_key_for_all(admin, alice, bob, namespace, refused):
    table = f"{namespace}.prices"
    admin.change(f"CREATE SHARED TABLE {table} (item TEXT PRIMARY KEY, price INT)")
    upsert = f"INSERT INTO {table} VALUES ('a', 1) ON CONFLICT DO UPDATE SET price = prices.price + 1"
    with refused("PermissionDenied"):
        alice.change(upsert)
    admin.change(f'GRANT INSERT ON {table} TO "{alice.name}"')
    with refused("PermissionDenied"):
        alice.change(upsert)
    assert alice.change(f"INSERT INTO {table} VALUES ('a', 1) ON CONFLICT DO NOTHING") == 1
    admin.change(f'GRANT INSERT, UPDATE ON {table} TO "{bob.name}"')
    assert bob.change(upsert) == 1
    assert alice.rows(f"SELECT * FROM {table}") == [("a", 2)]
    with refused("PermissionDenied"):
        bob.change(f"""MERGE INTO {table} AS t USING (VALUES ('a')) AS s (item) ON t.item = s.item
                       WHEN MATCHED THEN DELETE""")


def test_the_audit_names_both_tables(admin, alice, namespace, items):
    admin.change(f"CREATE TABLE {namespace}.source (id BIGINT)")
    sql = f"MERGE INTO {items} AS t USING {namespace}.source AS s ON t.id = s.id WHEN MATCHED THEN DELETE"
    assert alice.change(sql) == 0
    told = alice.rows("SELECT tables FROM system.audit WHERE statement = 'MERGE'")
    assert [set(tables.split(", ")) for (tables,) in told] == [{items, f"{namespace}.source"}]
