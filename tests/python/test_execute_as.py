"""EXECUTE AS USER and x-insula-run-as: wholly as the other user, for service and admin, on every path."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Login, quoted
from demo import adbc, flightsql
from test_tickets import close, prepare


@pytest.fixture
def service(admin, new_user):
    login = new_user()
    admin.change(f"ALTER USER {quoted(login.name)} ROLE service")
    return login


def as_user(login: Login, statement: str) -> str:
    name = login.name.replace("'", "''")
    return f"EXECUTE AS USER '{name}' ({statement})"


def test_it_runs_wholly_as_the_user(service, alice, items):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'hers')")
    assert service.rows(as_user(alice, f"SELECT name, CURRENT_USER FROM {items}")) == [("hers", alice.name)]
    assert service.change(as_user(alice, f"INSERT INTO {items} (id, name) VALUES (2, 'by the service')")) == 1
    assert service.rows(f"SELECT * FROM {items}") == []
    assert alice.rows(f"SELECT id FROM {items} ORDER BY id") == [(1,), (2,)]
    assert service.rows("SELECT CURRENT_USER") == [(service.name,)]


def test_an_admin_may_too_and_sees_nothing_else(admin, alice, bob, items):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'hers')")
    bob.change(f"INSERT INTO {items} (id, name) VALUES (1, 'his')")
    assert admin.rows(as_user(alice, f"SELECT name FROM {items}")) == [("hers",)]
    assert admin.rows(f"SELECT name FROM {items}") == []


def test_parameters_and_handles(service, alice, bob, items):
    rows = [(1, "a"), (2, "b"), (3, "c")]
    assert service.change(as_user(alice, f"INSERT INTO {items} (id, name) VALUES (?, ?)"), rows) == 3
    assert service.rows(as_user(alice, f"SELECT name FROM {items} WHERE id = ?"), (2,)) == [("b",)]
    client = service.flight()
    handle = prepare(client, as_user(alice, f"SELECT id FROM {items} ORDER BY id"))
    for _ in range(2):
        assert client.fetch("CommandPreparedStatementQuery", {1: handle}).column(0).to_pylist() == [1, 2, 3]
    # The handle is the service's: neither the user's nor anybody else's.
    for other in (alice.flight(), bob.flight()):
        with pytest.raises(flight.FlightUnauthorizedError):
            other.info("CommandPreparedStatementQuery", {1: handle})
        with pytest.raises(flight.FlightUnauthorizedError):
            close(other, handle)
    close(client, handle)


def test_every_path(service, alice, items):
    client = service.flight()
    assert client.update(as_user(alice, f"INSERT INTO {items} (id, name) VALUES (1, 'x')")) == 1
    select = as_user(alice, f"SELECT id FROM {items}")
    command = flightsql.command("CommandStatementQuery", {1: select})
    assert client.query(select).num_rows == 1
    assert client.read(flight.Ticket(command)).num_rows == 1
    descriptor = flight.FlightDescriptor.for_command(command)
    assert client.flight.get_schema(descriptor, client.options).schema.names == ["id"]
    # Through GetFlightInfo and DoGet, which runs it once.
    insert = as_user(alice, f"INSERT INTO {items} (id, name) VALUES (2, 'y')")
    info = client.info("CommandStatementQuery", {1: insert})
    client.read(info.endpoints[0].ticket)
    handle = prepare(client, as_user(alice, f"DELETE FROM {items} WHERE id = 2"))
    reply = client.put(flightsql.command("CommandPreparedStatementUpdate", {1: handle}), pa.schema([]))
    assert flightsql.decode(reply)[1] == [1]
    assert alice.rows(f"SELECT id FROM {items}") == [(1,)]
    assert service.rows(f"SELECT id FROM {items}") == []


def test_who_may_not(admin, service, alice, bob, refused):
    with refused("PermissionDenied", "service"):
        alice.rows(as_user(bob, "SELECT 1"))
    with refused("PermissionDenied"):
        alice.rows("EXECUTE AS USER 'nobody-of-this-name' (SELECT 1)")
    with refused("NotFound", "nobody-of-this-name"):
        service.rows("EXECUTE AS USER 'nobody-of-this-name' (SELECT 1)")
    # Nobody gets a higher role by it.
    with refused("PermissionDenied", "admin"):
        service.rows("EXECUTE AS USER admin (SHOW JOBS)")
    with refused("PermissionDenied"):
        service.change(as_user(alice, "CREATE NAMESPACE hers"))


def test_nested_and_malformed(service, alice, bob, refused):
    with refused("InvalidArgument", "EXECUTE AS"):
        service.rows(as_user(alice, as_user(bob, "SELECT 1")))
    with refused("InvalidArgument", "EXECUTE AS"):
        service.rows(as_user(alice, "SELECT 1") + "; SELECT (2)")
    with refused("InvalidArgument"):
        service.rows(as_user(alice, "SELEC 1"))
    with refused("FailedPrecondition", "x-insula-run-as"):
        service.change(as_user(alice, "BEGIN"))


def test_the_role_counts_when_it_runs(admin, service, alice, items, refused):
    client = service.flight()
    handle = prepare(client, as_user(alice, f"SELECT id FROM {items}"))
    ticket = client.info("CommandPreparedStatementQuery", {1: handle}).endpoints[0].ticket
    admin.change(f"ALTER USER {quoted(service.name)} ROLE user")
    with pytest.raises(flight.FlightUnauthorizedError):
        client.read(ticket)
    with pytest.raises(flight.FlightUnauthorizedError):
        client.info("CommandPreparedStatementQuery", {1: handle})


def test_a_user_who_is_gone(admin, service, alice, items):
    client = service.flight()
    handle = prepare(client, as_user(alice, f"SELECT id FROM {items}"))
    admin.change(f"DROP USER {quoted(alice.name)}")
    with pytest.raises(KeyError):  # pyarrow's NOT_FOUND
        client.info("CommandPreparedStatementQuery", {1: handle})
    admin.change(f"CREATE USER {quoted(alice.name)} PASSWORD 'x'")
    with pytest.raises(flight.FlightUnauthorizedError):
        client.info("CommandPreparedStatementQuery", {1: handle})


def test_grants_are_the_users(admin, service, alice, namespace, refused):
    admin.change(f"CREATE SHARED TABLE {namespace}.s (id INT) WITH (grants = 'none')")
    admin.change(f"GRANT SELECT ON {namespace}.s TO {quoted(alice.name)}")
    assert service.rows(as_user(alice, f"SELECT * FROM {namespace}.s")) == []
    with refused("PermissionDenied"):
        service.rows(f"SELECT * FROM {namespace}.s")


def test_it_stands_beside_a_transaction(service, alice, items, refused):
    service.change("BEGIN")
    assert service.change(as_user(alice, f"INSERT INTO {items} (id, name) VALUES (1, 'x')")) == 1
    service.change(f"INSERT INTO {items} (id, name) VALUES (1, 'own')")
    with refused("FailedPrecondition", "EXECUTE AS"):
        service.change(as_user(alice, f"INSERT INTO {items} (id, name) VALUES (2, 'x')"))
    service.change("ROLLBACK")
    assert alice.rows(f"SELECT id FROM {items}") == [(1,)] and service.rows(f"SELECT id FROM {items}") == []


def test_the_settings_are_the_clients(service, alice, namespace, items):
    service.change(f"SET schema = '{namespace}'")
    assert service.rows(as_user(alice, "SELECT * FROM items")) == []


def test_the_header_does_the_same(server, service, alice, items, refused):
    with adbc.connect(server.url, service.name, service.password, x_insula_run_as=alice.name) as other:
        assert adbc.scalar(other, "SELECT CURRENT_USER") == alice.name
        assert adbc.change(other, f"INSERT INTO {items} (id, name) VALUES (5, 'x')") == 1
        # Now it is alice who asks, and she may not.
        with refused("PermissionDenied"):
            adbc.query(other, as_user(service, "SELECT 1"))
    with refused("PermissionDenied", "x-insula-run-as"):
        adbc.connect(server.url, alice.name, alice.password, x_insula_run_as=service.name).close()


def test_nobody_changes_the_password_of_whom_they_run_as(service, alice, refused):
    with refused("PermissionDenied", "password"):
        service.change(as_user(alice, f"ALTER USER {quoted(alice.name)} PASSWORD 'mine now'"))
    assert alice.flight().query("SELECT 1").num_rows == 1


def test_the_audit_has_both_names(admin, service, alice, items):
    mark = f"SELECT id, 'of {items}' FROM {items}"
    service.rows(as_user(alice, mark))
    [(user, actor)] = alice.rows("SELECT DISTINCT \"user\", actor FROM system.audit WHERE text = ? AND event = 'statement'", (mark,))
    assert (user, actor) == (alice.name, service.name)
