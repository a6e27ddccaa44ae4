"""Sessions and their tokens: how they end, by age and by whom."""

import json
import time
import uuid

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from conftest import Login

from demo import flightsql, grpcurl
from demo.server import ADMIN_PASSWORD, Server
from test_limits import ENDLESS, Background, states, until
from test_tickets import prepare

ADMIN = "insula.v1.Admin/"


def bearer(client: flightsql.Client) -> str:
    return f"authorization: {client.bearer[1].decode()}"


def sessions(client: flightsql.Client, address: str) -> dict[str, dict]:
    """Those by a token, as the client's user sees them, by id. (A login itself is one by its connection.)"""
    client.query("SELECT 1")
    told = json.loads(grpcurl.call(address, ADMIN + "ListSessions", headers=(bearer(client),)))
    return {session["sessionId"]: session for session in told["sessions"] if session.get("byToken")}


def kill(client: flightsql.Client, address: str, session: str):
    return grpcurl.run(address, ADMIN + "KillSession", headers=(bearer(client),), data={"session_id": session})


def test_a_token_ends_at_its_age_however_busy_it_is(tmp_path):
    with Server(tmp_path / "data", "--token-max-age", "2s") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        client, began = admin.flight(), time.monotonic()
        with pytest.raises(flight.FlightUnauthenticatedError, match="--token-max-age.*log in again"):
            while time.monotonic() < began + 60:
                client.query("SELECT 1")
        assert time.monotonic() - began >= 1.5
        with admin.flight() as again:
            assert again.query("SELECT 1 AS one").to_pylist() == [{"one": 1}], "a new one is to be had"
        assert "token_max_age=2s" in server.log.read_text()
        admin.close()


def test_one_session_is_ended_by_a_call(server, admin, alice, bob, items):
    address, mine, theirs = server.address, alice.flight(), bob.flight()
    assert states(alice) == [], "the connection for such questions is open from now on"
    before = set(sessions(mine, address))
    other = alice.flight()
    # It has a transaction, a prepared statement, and a statement that runs.
    begun = other.action("BeginTransaction", flightsql.command("ActionBeginTransactionRequest"))
    assert begun
    prepare(other, f"SELECT * FROM {items}")
    (new,) = set(sessions(mine, address)) - before
    runs = Background(alice, ENDLESS)
    until(lambda: states(alice) == ["running"])
    running = set(sessions(mine, address)) - before - {new}

    assert new not in sessions(theirs, address), "a user is told of their own"
    assert "PermissionDenied" in kill(theirs, address, new).stderr
    assert "NotFound" in kill(mine, address, str(uuid.uuid4())).stderr
    assert "NotFound" in kill(mine, address, "the last one").stderr

    assert kill(mine, address, new).returncode == 0
    with pytest.raises(flight.FlightUnauthenticatedError):
        other.query("SELECT 1")
    assert new not in sessions(mine, address), "the session that ended it stays, and it does not"

    # An admin ends anybody's, with what runs in it.
    with admin.flight() as chief:
        (session,) = running
        assert kill(chief, address, session).returncode == 0
    runs.end()
    assert isinstance(runs.error, flight.FlightCancelledError), runs.error
    ended = "SELECT result FROM system.audit WHERE statement = 'KILL' AND \"user\" = '{}' ORDER BY at"
    done = [result for (result,) in alice.rows(ended.format(alice.name))]
    assert done == ["NOT_FOUND", "NOT_FOUND", "OK"]
    assert ("PERMISSION_DENIED",) in bob.rows(ended.format(bob.name))


def test_a_killed_session_leaves_nothing_to_go_on_with(server, alice, items):
    mine = alice.flight()
    before = set(sessions(mine, server.address))
    other = alice.flight()
    (transaction,) = other.action("BeginTransaction", flightsql.command("ActionBeginTransactionRequest"))
    transaction = flightsql.decode(flightsql.decode(transaction)[2][0])[1][0]
    insert = {1: f"INSERT INTO {items} (id, name) VALUES (1, 'a')", 2: transaction}
    other.put(flightsql.command("CommandStatementUpdate", insert), pa.schema([]))
    (new,) = set(sessions(mine, server.address)) - before
    assert kill(mine, server.address, new).returncode == 0
    # The id of the transaction is its user's, and the transaction is over.
    end = flightsql.command("ActionEndTransactionRequest", {1: transaction, 2: 1})
    with pytest.raises(flight.FlightError, match="session was closed"):
        mine.action("EndTransaction", end)
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]
