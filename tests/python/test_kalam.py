"""The reference project's own list (KalamDB, phase 18), in its order and by its names."""

from datetime import UTC, datetime, timedelta


def test_create_and_insert(alice, items):
    assert alice.change(f"INSERT INTO {items} VALUES (1, 'one', 10)") == 1
    assert alice.rows(f"SELECT * FROM {items}") == [(1, "one", 10)]


def test_data_isolation(alice, bob, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'of alice', 1)")
    bob.change(f"INSERT INTO {items} VALUES (1, 'of bob', 1), (2, 'of bob', 2)")
    assert alice.rows(f"SELECT id, name FROM {items} ORDER BY id") == [(1, "of alice")]
    assert bob.rows(f"SELECT id, name FROM {items} ORDER BY id") == [(1, "of bob"), (2, "of bob")]


def test_multiple_inserts(alice, items):
    for i in range(20):
        assert alice.change(f"INSERT INTO {items} VALUES ({2 * i}, 'n', {i}), ({2 * i + 1}, 'n', {i})") == 2
    assert alice.rows(f"SELECT count(*), sum(id), count(DISTINCT size) FROM {items}") == [(40, 780, 20)]


def test_system_columns(alice, items):
    before = datetime.now(UTC) - timedelta(seconds=1)
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 10)")
    [(updated, deleted, seq)] = alice.rows(f"SELECT _updated, _deleted, _seq FROM {items}")
    assert before < updated < datetime.now(UTC) + timedelta(seconds=1)
    assert deleted is False and seq > 0
    alice.change(f"UPDATE {items} SET size = 11 WHERE id = 1")
    [(again, newer)] = alice.rows(f"SELECT _updated, _seq FROM {items}")
    assert again >= updated and newer > seq


def test_update_with_isolation(alice, bob, items):
    for user in (alice, bob):
        user.change(f"INSERT INTO {items} VALUES (1, 'same', 1), (2, 'same', 2)")
    assert alice.change(f"UPDATE {items} SET name = 'changed' WHERE id = 1") == 1
    assert alice.change(f"UPDATE {items} SET size = size + 1") == 2
    assert alice.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "changed", 2), (2, "same", 3)]
    assert bob.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "same", 1), (2, "same", 2)]


def test_delete_with_isolation(alice, bob, items):
    for user in (alice, bob):
        user.change(f"INSERT INTO {items} VALUES (1, 'same', 1), (2, 'same', 2)")
    assert alice.change(f"DELETE FROM {items} WHERE id = 1") == 1
    assert alice.rows(f"SELECT id FROM {items}") == [(2,)]
    assert alice.rows(f"SELECT id, _deleted FROM {items} ORDER BY id") == [(1, True), (2, False)]
    assert bob.rows(f"SELECT id FROM {items} ORDER BY id") == [(1,), (2,)]
    assert bob.change(f"DELETE FROM {items}") == 2
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(1,)]


def test_no_access_to_other_users_data(admin, alice, bob, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'secret', 1)")
    for stranger in (bob, admin):
        assert stranger.rows(f"SELECT count(*) FROM {items}") == [(0,)]
        assert stranger.rows(f"SELECT * FROM {items} WHERE id = 1 OR name = 'secret' OR TRUE") == []
        assert stranger.change(f"UPDATE {items} SET name = 'seen' WHERE id = 1") == 0
        assert stranger.change(f"DELETE FROM {items}") == 0
        # Nor does a key that another user has stand in anyone's way.
        assert stranger.change(f"INSERT INTO {items} VALUES (1, 'own', 1)") == 1
        assert stranger.change(f"DELETE FROM {items}") == 1
    admin.change(f"FLUSH TABLE {items}")
    assert bob.rows(f"SELECT name FROM {items}") == []
    assert alice.rows(f"SELECT name FROM {items}") == [("secret",)]
