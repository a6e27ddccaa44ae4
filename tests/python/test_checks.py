"""CHECK constraints through the drivers: every way in, and that what they say tells nobody of another's rows."""

import pyarrow as pa
import pytest

from conftest import quoted
from demo import adbc

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), ("age", pa.int32())])
AGE = ("InvalidArgument", '"people_age_check"', "people")


@pytest.fixture
def people(admin, namespace):
    admin.change(f"CREATE TABLE {namespace}.people (id BIGINT PRIMARY KEY, age INT CHECK (age > 0))")
    return f"{namespace}.people"


def rows(*given) -> pa.RecordBatch:
    ids, ages = zip(*given)
    return pa.record_batch({"id": ids, "age": ages}, schema=SCHEMA)


def test_no_way_in_takes_a_row_that_fails(alice, people, refused):
    alice.change(f"INSERT INTO {people} VALUES (1, 10), (2, NULL)")
    ways = [
        lambda: alice.change(f"INSERT INTO {people} VALUES (3, 1), (4, -4711)"),
        lambda: alice.change(f"INSERT INTO {people} VALUES (?, ?)", [(3, 1), (4, -4711)]),
        lambda: alice.change(f"UPDATE {people} SET age = ? WHERE id = ?", [(1, 1), (-4711, 2)]),
        lambda: alice.ingest(people, rows((3, 1), (4, -4711))),
        lambda: alice.ingest(people, pa.Table.from_batches([rows((3, 1)), rows((4, -4711))])),
        lambda: alice.query(f"UPDATE {people} SET age = -4711 WHERE id = 1 RETURNING id"),
    ]
    for way in ways:
        with refused(*AGE) as refusal:
            way()
        assert "4711" not in refusal.text
        assert alice.rows(f"SELECT * FROM {people} ORDER BY id") == [(1, 10), (2, None)]
    assert alice.ingest(people, rows((3, 1), (4, None))) == 2


def test_a_large_load_is_refused_as_a_whole(alice, people, refused):
    """More than goes by the hot tier."""
    count = 3_000_000
    ages = pa.array([1] * (count - 1) + [-4711], pa.int32())
    table = pa.table({"id": pa.array(range(count), pa.int64()), "age": ages}, schema=SCHEMA)
    table = pa.Table.from_batches(table.to_batches(max_chunksize=100_000))
    with refused(*AGE):
        alice.ingest(people, table)
    assert alice.rows(f"SELECT count(*) FROM {people}") == [(0,)]
    assert alice.ingest(people, table.slice(0, count - 1)) == count - 1


def test_a_load_of_many_users_does_not_say_whose_row_failed(admin, alice, bob, people, refused):
    connection = adbc.connect(admin.server.url, admin.name, admin.password, x_insula_user_column="who")
    schema = pa.schema([("who", pa.string()), *SCHEMA])

    def load(*given) -> int:
        return adbc.ingest(connection, people, pa.table(dict(zip(schema.names, zip(*given))), schema=schema))

    with refused(*AGE) as refusal:
        load((alice.name, 1, 1), (bob.name, 1, -4711))
    assert bob.name not in refusal.text and "4711" not in refusal.text
    assert load((alice.name, 1, 1), (bob.name, 1, 2)) == 2
    assert bob.rows(f"SELECT * FROM {people}") == [(1, 2)]
    connection.close()


def test_nothing_is_told_of_another_users_rows(admin, alice, bob, people, refused):
    """Whether somebody else's rows would fail a check is told to nobody, not even to who adds it."""
    bob.change(f"INSERT INTO {people} VALUES (1, 5)")
    told = []
    for condition in ("age > 5", "age >= 5"):
        with refused("FailedPrecondition", "NOT VALID") as refusal:
            admin.change(f"ALTER TABLE {people} ADD CONSTRAINT more CHECK ({condition})")
        told.append(refusal.text)
    assert told[0] == told[1]
    # Those that fail it stay, and concern their owner alone.
    admin.change(f"ALTER TABLE {people} ADD CONSTRAINT more CHECK (age > 5) NOT VALID")
    assert alice.change(f"INSERT INTO {people} VALUES (1, 6)") == 1
    assert alice.change(f"UPDATE {people} SET age = age + 1") == 1
    assert bob.rows(f"SELECT * FROM {people}") == [(1, 5)]
    texts = []
    for user in (alice, bob):
        with refused("InvalidArgument", '"more"') as refusal:
            user.change(f"UPDATE {people} SET age = 5")
        texts.append(refusal.text)
    assert texts[0] == texts[1]
    assert bob.change(f"DELETE FROM {people}") == 1


def test_checks_of_tables_that_one_may_not_know_of_are_not_listed(admin, alice, namespace):
    admin.change(f"CREATE SHARED TABLE {namespace}.s (a INT CHECK (a <> 4711)) WITH (grants = 'none')")
    listed = f"SELECT check_clause FROM information_schema.check_constraints WHERE constraint_schema = '{namespace}'"
    assert (admin.rows(listed), alice.rows(listed)) == ([("a <> 4711",)], [])
    admin.change(f"GRANT INSERT ON {namespace}.s TO {quoted(alice.name)}")
    assert alice.rows(listed) == [("a <> 4711",)]


def test_definitions_are_for_those_who_may(admin, alice, namespace, people, refused):
    for action in ("ADD CHECK (age < 100) NOT VALID", "DROP CONSTRAINT people_age_check"):
        with refused("PermissionDenied", "CREATE ON NAMESPACE"):
            alice.change(f"ALTER TABLE {people} {action}")
    admin.change(f"ALTER TABLE {people} ADD CHECK (age < 100), DROP CONSTRAINT people_age_check")
    assert alice.change(f"INSERT INTO {people} VALUES (1, -5)") == 1
    with refused("InvalidArgument", '"people_age_check1"'):
        alice.change(f"INSERT INTO {people} VALUES (2, 100)")
    [(_, _, text)] = alice.rows(f"SHOW CREATE TABLE {people}")
    assert 'CONSTRAINT "people_age_check1" CHECK (age < 100)' in text
