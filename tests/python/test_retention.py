"""`deleted_retention` over compactions: the bin keeps what it promises, then loses it, and nothing comes back."""

import pytest

BIN = "SELECT id FROM {} WHERE _deleted ORDER BY id"
LIVE = "SELECT id, name FROM {} ORDER BY id"


@pytest.fixture
def table(admin, namespace, alice, bob):
    """Two users' rows of which some are deleted, over several files and in the hot tier."""

    def make(retention: str) -> str:
        name = f"{namespace}.t"
        admin.change(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, name TEXT) WITH (deleted_retention = '{retention}')")
        for user in (alice, bob):
            user.change(f"INSERT INTO {name} VALUES (1, 'old'), (2, 'old'), (3, 'old'), (4, 'old')")
        admin.query(f"FLUSH TABLE {name}")
        alice.change(f"UPDATE {name} SET name = 'new' WHERE id IN (2, 3)")
        alice.change(f"DELETE FROM {name} WHERE id = 1")
        admin.query(f"FLUSH TABLE {name}")
        alice.change(f"DELETE FROM {name} WHERE id = 3")
        return name

    return make


def seen(name, *users):
    return [(user.rows(LIVE.format(name)), user.rows(BIN.format(name))) for user in users]


KEPT = [([(2, "new"), (4, "old")], [(1,), (3,)]), ([(1, "old"), (2, "old"), (3, "old"), (4, "old")], [])]
GONE = [(KEPT[0][0], []), KEPT[1]]


@pytest.mark.parametrize("retention", ["7 days", "off"])
def test_a_compaction_keeps_the_bin_until_its_time_is_up(table, retention, admin, alice, bob):
    name = table(retention)
    assert seen(name, alice, bob) == KEPT
    for _ in range(2):
        admin.query(f"COMPACT TABLE {name}")
        assert seen(name, alice, bob) == KEPT


def test_what_has_outlived_its_time_goes_with_the_next_compaction(table, admin, alice, bob):
    name = table("7 days")
    admin.query(f"COMPACT TABLE {name}")
    # The rows are older than this by now: statements lie between.
    admin.change(f"ALTER TABLE {name} SET (deleted_retention = '1ms')")
    [report] = admin.query(f"COMPACT TABLE {name}").to_pylist()
    # Unless the background was faster, it was this compaction that took them.
    assert report["removed"] in (0, 2) and report["files"] == 1, report
    assert seen(name, alice, bob) == GONE
    # No older version of a key comes back, now or when it is used again.
    alice.change(f"INSERT INTO {name} VALUES (1, 'again')")
    admin.query(f"COMPACT TABLE {name}")
    assert alice.rows(LIVE.format(name)) == [(1, "again"), (2, "new"), (4, "old")]
    assert alice.rows(BIN.format(name)) == []


def test_a_row_that_lives_again_is_not_taken_for_its_deleted_version(table, admin, alice, bob):
    name = table("1ms")
    alice.change(f"INSERT INTO {name} VALUES (3, 'again')")
    admin.query(f"COMPACT TABLE {name}")
    assert seen(name, alice, bob) == [([(2, "new"), (3, "again"), (4, "old")], []), KEPT[1]]
