"""`_updated`, `_deleted`, `_seq`: part of every table, part of no definition."""

import pytest


def test_star_does_not_list_them(alice, items):
    assert alice.query(f"SELECT * FROM {items}").column_names == ["id", "name", "size"]


def test_star_lists_them_under_the_setting(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    alice.change("SET insula.show_system_columns = true")
    names = alice.query(f"SELECT * FROM {items}").column_names
    assert names[:3] == ["id", "name", "size"] and set(names[3:]) == {"_updated", "_deleted", "_seq"}


def test_the_setting_belongs_to_its_session(alice, bob, items):
    alice.change("SET insula.show_system_columns = true")
    assert bob.query(f"SELECT * FROM {items}").column_names == ["id", "name", "size"]
    assert alice.connect() is not None and adbc_names(alice.opened[-1], items) == ["id", "name", "size"]


def adbc_names(connection, items):
    with connection.cursor() as cursor:
        return cursor.execute(f"SELECT * FROM {items}").fetch_arrow_table().column_names


def test_their_types(alice, items):
    schema = alice.query(f"SELECT _updated, _deleted, _seq FROM {items}").schema
    assert str(schema.field("_updated").type) in ("timestamp[us, tz=UTC]", "timestamp[us, tz=+00:00]")
    assert [str(t) for t in schema.types[1:]] == ["bool", "int64"]


@pytest.mark.parametrize("column", ["_updated", "_deleted", "_seq"])
def test_writing_one_is_refused(alice, items, refused, column):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    with refused("InvalidArgument", column):
        alice.change(f"INSERT INTO {items} (id, name, {column}) VALUES (2, 'two', NULL)")
    with refused("InvalidArgument", column):
        alice.change(f"UPDATE {items} SET {column} = NULL")
    assert alice.rows(f"SELECT id FROM {items}") == [(1,)]


def test_only_a_statement_that_names_deleted_sees_deleted_rows(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'gone', 1), (2, 'here', 2)")
    alice.change(f"DELETE FROM {items} WHERE id = 1")
    assert alice.rows(f"SELECT id, _updated IS NULL, _seq > 0 FROM {items}") == [(2, False, True)]
    assert alice.rows(f"SELECT id, name FROM {items} WHERE _deleted") == [(1, "gone")]
    assert alice.rows(f"SELECT id, name FROM {items} WHERE NOT _deleted") == [(2, "here")]
    assert alice.rows(f"SELECT count(*), count(_deleted) FROM {items}") == [(2, 2)]


def test_listing_system_columns_is_not_naming_deleted(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'gone', 1), (2, 'here', 2)")
    alice.change(f"DELETE FROM {items} WHERE id = 1")
    alice.change("SET insula.show_system_columns = true")
    assert [row[0] for row in alice.rows(f"SELECT * FROM {items}")] == [2]


def test_a_star_beside_a_named_one_in_a_self_join(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1), (2, 'two', 2)")
    joined = alice.query(f"SELECT *, a._seq FROM {items} a JOIN {items} b ON a.id = b.id ORDER BY a.id")
    assert joined.column_names == ["id", "name", "size"] * 2 + ["_seq"] and joined.num_rows == 2


def test_seq_follows_commit_order(alice, items):
    for i in (3, 1, 2):
        alice.change(f"INSERT INTO {items} VALUES ({i}, 'n', 0)")
    assert alice.rows(f"SELECT id FROM {items} ORDER BY _seq") == [(3,), (1,), (2,)]


def test_they_survive_a_flush(admin, alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'gone', 1), (2, 'here', 2)")
    alice.change(f"DELETE FROM {items} WHERE id = 1")
    select = f"SELECT id, _updated, _deleted, _seq FROM {items} ORDER BY id"
    hot = alice.rows(select)
    admin.change(f"FLUSH TABLE {items}")
    assert alice.rows(select) == hot
