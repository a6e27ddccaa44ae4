"""One real server for the session, a fresh namespace and fresh users for each test."""

import itertools
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from adbc_driver_flightsql import dbapi

from demo import adbc, flightsql
from demo.server import ADMIN_PASSWORD, Server

NUMBERS = itertools.count(1)


@dataclass
class Login:
    """A user of a server, and the ways to be that user."""

    server: Server
    name: str
    password: str
    opened: list = field(default_factory=list)

    def connect(self) -> dbapi.Connection:
        self.opened.append(adbc.connect(self.server.url, self.name, self.password))
        return self.opened[-1]

    def flight(self) -> flightsql.Client:
        self.opened.append(flightsql.Client(self.server.url, self.name, self.password))
        return self.opened[-1]

    @property
    def connection(self) -> dbapi.Connection:
        for opened in self.opened:
            if isinstance(opened, dbapi.Connection):
                return opened
        return self.connect()

    def query(self, sql: str, parameters=None):
        return adbc.query(self.connection, sql, parameters)

    def rows(self, sql: str, parameters=None) -> list[tuple]:
        table = self.query(sql, parameters)
        return list(zip(*(column.to_pylist() for column in table.columns)))

    def change(self, sql: str, rows=None) -> int:
        return adbc.change(self.connection, sql, rows)

    def ingest(self, table: str, data, mode: str = "append") -> int:
        return adbc.ingest(self.connection, table, data, mode)

    def close(self) -> None:
        for opened in self.opened:
            try:
                opened.close()
            except Exception:
                pass  # The server may have been killed by the test.
        self.opened.clear()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    directory: Path = tmp_path_factory.mktemp("insula")
    with Server(directory / "data") as server:
        yield server
        assert server.process.poll() is None, f"the server died during the tests:\n{server.log_tail()}"


@pytest.fixture(scope="session")
def admin(server):
    login = Login(server, "admin", ADMIN_PASSWORD)
    yield login
    login.close()


@pytest.fixture
def new_user(server, admin):
    """Makes users: `new_user()` has a name of its own, `new_user(name)` the given one."""
    made = []

    def make(name: str | None = None) -> Login:
        login = Login(server, name or f"user-{next(NUMBERS)}", secrets.token_urlsafe(8))
        admin.change(f"CREATE USER {quoted(login.name)} PASSWORD '{login.password}'")
        made.append(login)
        return login

    yield make
    for login in made:
        login.close()


@pytest.fixture
def alice(new_user):
    return new_user()


@pytest.fixture
def bob(new_user):
    return new_user()


@pytest.fixture
def namespace(admin):
    name = f"ns{next(NUMBERS)}"
    admin.change(f"CREATE NAMESPACE {name}")
    return name


@pytest.fixture
def items(admin, namespace):
    """A user table with a key, for the tests that need just that."""
    admin.change(f"CREATE USER TABLE {namespace}.items (id BIGINT PRIMARY KEY, name TEXT NOT NULL, size INT DEFAULT 7)")
    return f"{namespace}.items"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture
def refused():
    """`with refused("NotFound", "words"):` the block fails with that gRPC code and a message that names these."""
    return Refusal


class Refusal:
    def __init__(self, code: str, *words: str):
        self.code, self.words = code, words
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _) -> bool:
        assert error is not None, f"this was not refused; expected {self.code}"
        if not isinstance(error, dbapi.Error):
            return False
        self.text = str(error)
        assert adbc.code(error) == self.code, f"expected {self.code}, got: {error}"
        for word in self.words:
            assert word in str(error), f"the message does not name {word!r}: {error}"
        return True
