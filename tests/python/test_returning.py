"""RETURNING through the driver: a query that runs once, whichever way it is sent."""

import pyarrow as pa
import pytest


def test_the_rows_come_as_those_of_a_query(alice, bob, items):
    sql = f"INSERT INTO {items} (id, name) VALUES (1, 'one'), (2, 'two') RETURNING id, size, upper(name) AS loud"
    assert bob.rows(sql) == [(1, 7, "ONE"), (2, 7, "TWO")]
    table = alice.query(sql)
    assert table.schema.names == ["id", "size", "loud"]
    assert table.schema.types == [pa.int64(), pa.int32(), pa.string()]
    assert alice.rows(f"UPDATE {items} SET size = size + id RETURNING *") == [(1, "one", 8), (2, "two", 9)]
    assert alice.rows(f"DELETE FROM {items} WHERE id = 1 RETURNING size") == [(8,)]
    assert alice.rows(f"DELETE FROM {items} WHERE id = 1 RETURNING size") == []
    assert bob.rows(f"SELECT count(*), sum(size) FROM {items}") == [(2, 14)]


def test_it_runs_once_on_every_path(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'n', 0)")
    plain = f"UPDATE {items} SET size = size + 1 WHERE id = 1 RETURNING size"
    prepared = f"UPDATE {items} SET size = size + ? WHERE id = ? RETURNING size"
    assert alice.rows(plain) == [(1,)]
    assert alice.rows(prepared, [1, 1]) == [(2,)]
    # As an update, only the count comes back.
    assert alice.change(plain) == 1
    assert alice.change(prepared, [(1, 1), (1, 1), (1, 99)]) == 2
    with alice.connection.cursor() as cursor:
        cursor.execute(plain)  # Nobody fetches.
    with alice.connection.cursor() as cursor:
        assert cursor.adbc_execute_schema(plain).names == ["size"]
        cursor.adbc_prepare(prepared)
    assert alice.rows(f"SELECT size FROM {items}") == [(6,)]


def test_a_prepared_insert_gives_what_the_server_chose(alice, admin, namespace):
    admin.change(f"CREATE TABLE {namespace}.notes (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), text TEXT)")
    ids = [alice.rows(f"INSERT INTO {namespace}.notes (text) VALUES (?) RETURNING id", [f"n{i}"])[0][0] for i in range(5)]
    assert alice.rows(f"SELECT id FROM {namespace}.notes ORDER BY text") == [(id,) for id in ids]


def test_many_rows(alice, items):
    sql = f"INSERT INTO {items} SELECT value, 'n' || value, 1 FROM generate_series(1, 50000) RETURNING id, name"
    assert sorted(alice.rows(sql)) == [(i, f"n{i}") for i in range(1, 50_001)]
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(50_000,)]


def test_upserts_and_merges(alice, items):
    upsert = f"""INSERT INTO {items} VALUES (?, 'n', 1) ON CONFLICT DO UPDATE SET size = items.size + 1 RETURNING size"""
    assert [alice.rows(upsert, [1]) for _ in range(3)] == [[(1,)], [(2,)], [(3,)]]
    merge = f"MERGE INTO {items} AS t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN DELETE RETURNING name, size"
    assert alice.rows(merge) == [("n", 3)]


def test_what_fails_in_it_is_not_written(alice, items, refused):
    alice.change(f"INSERT INTO {items} VALUES (1, 'n', 0)")
    for sql in (f"UPDATE {items} SET size = 5 RETURNING 1 / (size - 5)", f"DELETE FROM {items} RETURNING 1 / size"):
        with refused("InvalidArgument", "zero"):
            alice.rows(sql)
    with refused("InvalidArgument"):
        alice.rows(f"DELETE FROM {items} RETURNING count(*)")
    assert alice.rows(f"SELECT size FROM {items}") == [(0,)]


def test_it_takes_the_right_to_read(admin, alice, namespace, refused):
    admin.change(f"CREATE SHARED TABLE {namespace}.prices (item TEXT PRIMARY KEY, price INT) WITH (grants = 'none')")
    admin.change(f'GRANT INSERT ON {namespace}.prices TO "{alice.name}"')
    sql = f"INSERT INTO {namespace}.prices VALUES ('a', 1) RETURNING price"
    with refused("PermissionDenied"):
        alice.rows(sql)
    assert admin.rows(f"SELECT count(*) FROM {namespace}.prices") == [(0,)]
    admin.change(f'GRANT SELECT ON {namespace}.prices TO "{alice.name}"')
    assert alice.rows(sql) == [(1,)]


def test_its_columns_follow_the_table(admin, alice, items):
    sql = f"UPDATE {items} SET size = 1 RETURNING *"
    alice.change(f"INSERT INTO {items} VALUES (1, 'n', 0)")
    with alice.connection.cursor() as cursor:
        cursor.adbc_prepare(sql)
        admin.change(f"ALTER TABLE {items} ADD COLUMN more INT DEFAULT 5")
        cursor.execute(sql)
        assert cursor.fetchall() == [(1, "n", 1, 5)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_within_a_transaction(alice, items, end):
    alice.change("BEGIN")
    assert alice.rows(f"INSERT INTO {items} VALUES (1, 'n', 3) RETURNING size") == [(3,)]
    assert alice.rows(f"UPDATE {items} SET size = size * 2 RETURNING size") == [(6,)]
    alice.change(end)
    assert alice.rows(f"SELECT size FROM {items}") == ([(6,)] if end == "COMMIT" else [])
