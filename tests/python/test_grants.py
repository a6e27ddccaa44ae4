"""GRANT and REVOKE through the drivers: shared tables are for whom they were granted, at once and on every path."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Login, quoted
from demo import flightsql
from test_tickets import prepare


@pytest.fixture
def shared(admin, namespace):
    """A shared table that nobody is granted, with one row."""
    admin.change(f"CREATE SHARED TABLE {namespace}.s (id BIGINT PRIMARY KEY, v BIGINT) WITH (grants = 'none')")
    admin.change(f"INSERT INTO {namespace}.s VALUES (1, 10)")
    return f"{namespace}.s"


def test_shared_tables_are_read_by_all_unless_they_say_otherwise(admin, alice, namespace, shared, refused):
    admin.change(f"CREATE TABLE {namespace}.open (id BIGINT PRIMARY KEY) WITH (type = 'shared')")
    admin.change(f"INSERT INTO {namespace}.open VALUES (1)")
    assert alice.rows(f"SELECT id FROM {namespace}.open") == [(1,)]
    with refused("PermissionDenied", "INSERT", "GRANT INSERT"):
        alice.change(f"INSERT INTO {namespace}.open VALUES (2)")
    with refused("PermissionDenied", "SELECT"):
        alice.rows(f"SELECT * FROM {shared}")


@pytest.mark.parametrize("whom", ["user", "role", "public"])
def test_grant_and_revoke(admin, alice, bob, shared, refused, whom):
    to = {"user": quoted(alice.name), "role": "ROLE user", "public": "PUBLIC"}[whom]
    admin.change(f"GRANT SELECT, INSERT ON TABLE {shared} TO {to}")
    assert alice.change(f"INSERT INTO {shared} VALUES (?, ?)", [(2, 20), (3, 30)]) == 2
    assert alice.rows(f"SELECT count(*) FROM {shared}") == [(3,)]
    if whom == "user":
        with refused("PermissionDenied"):
            bob.rows(f"SELECT * FROM {shared}")
    else:
        assert bob.rows(f"SELECT count(*) FROM {shared}") == [(3,)]
    with refused("PermissionDenied", "DELETE"):
        alice.change(f"DELETE FROM {shared}")
    admin.change(f"REVOKE ALL PRIVILEGES ON {shared} FROM {to}")
    for sql in (f"SELECT * FROM {shared}", f"SELECT * FROM {shared} WHERE id = 1"):
        with refused("PermissionDenied"):
            alice.rows(sql)


def test_odd_names_are_granted_to_by_name(admin, new_user, shared):
    odd = new_user('a"b; -- é')
    admin.change(f"GRANT SELECT ON {shared} TO {quoted(odd.name)}")
    assert odd.rows(f"SELECT v FROM {shared}") == [(10,)]


def test_a_namespace_covers_its_tables_to_come(admin, alice, namespace, shared):
    admin.change(f"GRANT SELECT, CREATE ON NAMESPACE {namespace} TO {quoted(alice.name)}")
    admin.change(f"CREATE SHARED TABLE {namespace}.later (id INT) WITH (grants = 'none')")
    assert alice.rows(f"SELECT count(*) FROM {namespace}.later") == [(0,)]
    alice.change(f"CREATE TABLE {namespace}.own AS SELECT id FROM {shared}")
    assert alice.rows(f"SELECT id FROM {namespace}.own") == [(1,)]
    alice.change(f"ALTER TABLE {namespace}.own ADD COLUMN more INT")
    alice.change(f"DROP TABLE {namespace}.own")


def test_only_admins_grant(admin, alice, shared, refused):
    admin.change(f"GRANT ALL ON {shared} TO {quoted(alice.name)}")
    with refused("PermissionDenied", "admin"):
        alice.change(f"GRANT SELECT ON {shared} TO PUBLIC")
    with refused("NotFound", "nobody-of-this-name"):
        admin.change(f'GRANT SELECT ON {shared} TO "nobody-of-this-name"')


def test_ingest_needs_insert(admin, alice, shared, refused):
    rows = pa.table({"id": [7], "v": [70]})
    for mode in ("append", "create_append", "replace"):
        with refused("PermissionDenied"):
            alice.ingest(shared, rows, mode)
    admin.change(f"GRANT INSERT ON {shared} TO {quoted(alice.name)}")
    assert alice.ingest(shared, rows) == 1
    with refused("PermissionDenied"):
        alice.rows(f"SELECT * FROM {shared}")
    assert admin.rows(f"SELECT count(*) FROM {shared}") == [(2,)]


def test_a_revoke_reaches_handles_and_tickets(admin, alice, shared):
    admin.change(f"GRANT ALL ON {shared} TO {quoted(alice.name)}")
    client = alice.flight()
    read, write = prepare(client, f"SELECT * FROM {shared}"), prepare(client, f"DELETE FROM {shared} WHERE id = 1")
    assert client.fetch("CommandPreparedStatementQuery", {1: read}).num_rows == 1
    ticket = client.info("CommandPreparedStatementQuery", {1: read}).endpoints[0].ticket
    command = flight.Ticket(flightsql.command("CommandStatementQuery", {1: f"SELECT v FROM {shared} WHERE id = 1"}))
    assert client.read(command).num_rows == client.read(command).num_rows == 1
    admin.change(f"REVOKE ALL ON {shared} FROM {quoted(alice.name)}")
    for attempt in (
        lambda: client.read(ticket),
        lambda: client.read(command),
        lambda: client.fetch("CommandPreparedStatementQuery", {1: read}),
        lambda: client.put(flightsql.command("CommandPreparedStatementUpdate", {1: write}), pa.schema([])),
        lambda: client.update(f"DELETE FROM {shared}"),
        lambda: prepare(client, f"SELECT v FROM {shared}"),
        lambda: list(client.flight.list_flights(shared.encode(), client.options)) or 1 / 0,
    ):
        with pytest.raises((flight.FlightUnauthorizedError, ZeroDivisionError)):
            attempt()
    assert admin.rows(f"SELECT count(*) FROM {shared}") == [(1,)]


def test_lists_name_what_is_seen(admin, alice, namespace, shared):
    def listed(login: Login) -> set[str]:
        objects = login.connection.adbc_get_objects(depth="tables", db_schema_filter=namespace).read_all().to_pylist()
        schemas = [schema for catalog in objects for schema in catalog["catalog_db_schemas"]]
        tables = {table["table_name"] for schema in schemas for table in schema["db_schema_tables"] or []}
        shown = {row[1] for row in login.rows("SHOW TABLES") if row[0] == namespace}
        assert shown == tables
        return tables

    admin.change(f"CREATE TABLE {namespace}.own (id INT)")
    assert listed(admin) == {"s", "own"}
    assert listed(alice) == {"own"}
    admin.change(f"GRANT UPDATE ON {shared} TO {quoted(alice.name)}")
    assert listed(alice) == {"s", "own"}


def test_grants_on_user_tables_open_no_rows(admin, alice, bob, items):
    bob.change(f"INSERT INTO {items} (id, name) VALUES (1, 'secret')")
    admin.change(f"GRANT ALL ON {items} TO {quoted(alice.name)}")
    assert alice.rows(f"SELECT * FROM {items}") == []
