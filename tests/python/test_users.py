"""CREATE, ALTER and DROP USER; names of every kind are names, and never paths, patterns or SQL."""

import os
import subprocess

import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import dbapi

from conftest import Login, quoted
from demo import adbc
from demo.server import ADMIN_PASSWORD, Server, binary

ODD_NAMES = {
    "path": "../x",
    "absolute": "/etc/passwd",
    "double quote": 'a"b',
    "single quote": "a'b",
    "statement": "x'; DROP TABLE t; --",
    "pattern": "%",
    "underscore": "_",
    "space": " ",
    "spaces around": " a ",
    "unicode": "Zoë 🦊 東京",
    "case": "ADMIN",
    "long": "n" * 256,
    "long unicode": "é" * 128,
    "newline": "a\nb",
    "one byte": "a",
    "two": "ab",
    "separator": "a|b/c\\d",
    "percent": "a%20b",
}


@pytest.fixture(scope="module")
def crowd(server, admin):
    """All the odd users at once, each with one row that holds the name."""
    admin.change("CREATE NAMESPACE crowd")
    admin.change("CREATE TABLE crowd.names (id INT PRIMARY KEY, name TEXT)")
    logins = {kind: Login(server, name, f"password of {kind}") for kind, name in ODD_NAMES.items()}
    for kind, login in logins.items():
        admin.change(f"CREATE USER {quoted(login.name)} PASSWORD 'password of {kind}'")
        assert login.change("INSERT INTO crowd.names VALUES (1, ?)", [(login.name,)]) == 1
    admin.change("FLUSH TABLE crowd.names")
    yield logins
    for login in logins.values():
        login.close()


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_odd_names_see_their_own_row(crowd, kind):
    assert crowd[kind].rows("SELECT id, name, CURRENT_USER FROM crowd.names") == [(1, ODD_NAMES[kind], ODD_NAMES[kind])]


def test_no_file_is_named_after_a_user(crowd, server):
    paths = "\n".join(str(path.relative_to(server.data_dir)) for path in server.data_dir.rglob("*"))
    assert "passwd" not in paths and "Zo" not in paths and "nnnnnnnn" not in paths
    assert not (server.data_dir.parent / "x").exists()


@pytest.mark.parametrize("name", ["", "n" * 257, "é" * 129, "a\0b"], ids=["empty", "257", "258 bytes", "NUL"])
def test_names_that_are_none(admin, refused, name):
    with refused("InvalidArgument"):
        admin.change(f"CREATE USER {quoted(name)} PASSWORD 'x'")


def test_create_user_twice(admin, alice, refused):
    with refused("AlreadyExists", alice.name):
        admin.change(f"CREATE USER {quoted(alice.name)} PASSWORD 'other'")
    assert alice.rows("SELECT 1") == [(1,)]


def test_alter_user_changes_the_password(admin, alice):
    admin.change(f"ALTER USER {quoted(alice.name)} PASSWORD 'new one'")
    with pytest.raises(dbapi.Error):
        adbc.connect(alice.server.url, alice.name, alice.password).close()
    alice.password = "new one"
    assert adbc.scalar(alice.connect(), "SELECT 1") == 1


def test_drop_user_ends_the_sessions(admin, alice, refused):
    assert alice.rows("SELECT 1") == [(1,)]
    admin.change(f"DROP USER {quoted(alice.name)}")
    with refused("Unauthenticated"):
        alice.rows("SELECT 1")
    with pytest.raises(dbapi.Error):
        adbc.connect(alice.server.url, alice.name, alice.password).close()
    with refused("NotFound", alice.name):
        admin.change(f"DROP USER {quoted(alice.name)}")


def test_a_new_user_of_a_dropped_name_sees_nothing_of_the_old(admin, new_user, items):
    old = new_user("phoenix")
    old.change(f"INSERT INTO {items} VALUES (1, 'old', 1)")
    admin.change("DROP USER phoenix")
    assert new_user("phoenix").rows(f"SELECT count(*) FROM {items}") == [(0,)]


def test_roles(admin, server, alice, refused):
    admin.change("CREATE USER deputy PASSWORD 'd' ROLE admin")
    deputy = Login(server, "deputy", "d")
    deputy.change("CREATE NAMESPACE of_the_deputy")
    admin.change("ALTER USER deputy ROLE user")
    with refused("PermissionDenied"):
        deputy.change("CREATE NAMESPACE another")
    deputy.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE NAMESPACE mine",
        "CREATE TABLE {ns}.t (id INT)",
        "CREATE TABLE {ns}.t AS SELECT 1 AS one",
        "DROP TABLE {ns}.items",
        "DROP NAMESPACE {ns}",
        "CREATE USER eve PASSWORD 'x'",
        "ALTER USER admin PASSWORD 'x'",
        "DROP USER admin",
    ],
)
def test_administration_is_for_admin(alice, namespace, items, refused, statement):
    with refused("PermissionDenied"):
        alice.change(statement.format(ns=namespace))
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]


def test_passwords_are_not_in_the_log(server, admin, new_user):
    user = new_user()
    assert user.rows("SELECT 1") == [(1,)]
    assert user.password not in server.log.read_text()


def test_a_changed_password_ends_the_sessions(admin, alice, refused):
    old = alice.flight()
    assert old.query("SELECT 1").num_rows == 1
    admin.change(f"ALTER USER {quoted(alice.name)} PASSWORD 'another one'")
    with pytest.raises(flight.FlightUnauthenticatedError, match="changed"):
        old.query("SELECT 1")
    with pytest.raises(flight.FlightUnauthenticatedError):
        old.query("SELECT 1")
    alice.password = "another one"
    assert alice.flight().query("SELECT 1").num_rows == 1


def test_ones_own_new_password_ends_the_other_sessions(alice):
    mine, other = alice.flight(), alice.flight()
    assert other.query("SELECT 1").num_rows == 1
    assert mine.update(f"ALTER USER {quoted(alice.name)} PASSWORD 'my own'") == 0
    assert mine.query("SELECT 1").num_rows == 1, "the session in which it was changed goes on"
    with pytest.raises(flight.FlightUnauthenticatedError, match="changed"):
        other.query("SELECT 1")
    alice.close()
    alice.password = "my own"
    # ADBC makes two calls of a statement, and closes what it prepared.
    assert alice.change(f"ALTER USER {quoted(alice.name)} PASSWORD 'the third'") in (0, -1)
    assert alice.rows("SELECT 1") == [(1,)]
    alice.password = "the third"
    assert alice.flight().query("SELECT 1").num_rows == 1


def test_there_is_always_an_admin(tmp_path, refused):
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        with refused("FailedPrecondition", "admin"):
            admin.change("ALTER USER admin ROLE user")
        with refused("FailedPrecondition", "admin"):
            admin.change("ALTER USER admin ROLE service")
        with refused("FailedPrecondition", "admin"):
            admin.change("DROP USER admin")
        admin.change("CREATE USER deputy PASSWORD 'd' ROLE admin")
        admin.change("ALTER USER admin ROLE user")
        deputy = Login(server, "deputy", "d")
        for statement in ("ALTER USER deputy ROLE user", "DROP USER deputy", "DROP USER deputy ERASE"):
            with refused("FailedPrecondition", "deputy", "only admin"):
                deputy.change(statement)
        deputy.change("ALTER USER admin ROLE admin")
        admin.change("DROP USER deputy")
        admin.close()
        deputy.close()


def test_a_changed_role_shows_in_open_sessions(admin, alice, refused):
    alice.rows("SELECT 1")
    with refused("PermissionDenied"):
        alice.change("CREATE NAMESPACE for_a_moment")
    admin.change(f"ALTER USER {quoted(alice.name)} ROLE admin")
    alice.change("CREATE NAMESPACE for_a_moment")
    admin.change(f"ALTER USER {quoted(alice.name)} ROLE user")
    with refused("PermissionDenied"):
        alice.change("DROP NAMESPACE for_a_moment")
    admin.change("DROP NAMESPACE for_a_moment")


SLIPS = [
    "CREATE USER {name} PASSWORD '{secret}' '{secret}'",
    "CREATE USER {name} PASWORD '{secret}'",
    "CREATE USER {name} WITH PASSWORD '{secret}'",
    "CREATE USER {name} PASSWORD {secret}",
    "CREATE USER {name} PASSWORD '{secret}' ROLE boss",
    "CREATE OR REPLACE USER {name} PASSWORD '{secret}'",
    "CREATE ROLE {name} PASSWORD '{secret}' oh",
    "CREATE USR {name} PASSWORD '{secret}'",
    "ALTER USER {name} SET PASSWORD = '{secret}'",
    "ALTER USER nobody-of-this-name PASSWORD '{secret}'",
    "ALTER ROLE {name} PASSWORD '{secret}' and",
    "GRANT ALL TO {name} PASSWORD '{secret}'",
    "SELECT 1 PASSWORD '{secret}'",
    "EXECUTE AS USER admin (CREATE USER {name} PASSWORD '{secret}' '{secret}')",
    "EXECUTE AS USER admin (CREATE USER {name} PASSWORD '{secret}'",
    "CREATE USER {name} PASSWORD '{secret}",
]


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_beside_a_password_does_not_repeat_it(server, admin, slip):
    secret = "hunter2sesame"
    with pytest.raises(dbapi.Error) as failure:
        admin.change(slip.format(name="slipper", secret=secret))
    assert secret not in str(failure.value)
    assert secret not in server.log.read_text()
    told = admin.rows("SELECT * FROM system.queries") + admin.rows("SHOW ALL")
    assert secret not in str(told)


def test_drop_user_ends_what_runs(server, admin, alice):
    sql = "SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value < b.value"
    command = [binary(), "sql", "--url", server.url, "--user", alice.name, "-c", sql]
    environment = os.environ | {"INSULA_PASSWORD": alice.password}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        # Not its preparation, which is short.
        long = 'SELECT "user" FROM system.queries WHERE elapsed_micros > 500000'
        while (alice.name,) not in admin.rows(long):
            assert running.poll() is None, running.stderr.read()
        admin.change(f"DROP USER {quoted(alice.name)}")
        _, said = running.communicate(timeout=60)
    assert running.returncode and "cancelled" in said, said
    assert (alice.name,) not in admin.rows('SELECT "user" FROM system.queries')
