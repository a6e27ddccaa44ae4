"""Tickets and handles carry no authority, and rubbish in their place is refused as such."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from demo import flightsql


def test_anothers_ticket(alice, bob, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'secret', 1)")
    ticket = alice.flight().info("CommandStatementQuery", {1: f"SELECT * FROM {items}"}).endpoints[0].ticket
    with pytest.raises(flight.FlightUnauthorizedError) as failure:
        bob.flight().read(ticket)
    assert "secret" not in str(failure.value)
    assert alice.opened[-1].read(ticket).num_rows == 1


def test_a_ticket_of_ones_own_other_login(alice):
    ticket = alice.flight().info("CommandStatementQuery", {1: "SELECT 1"}).endpoints[0].ticket
    assert alice.flight().read(ticket).num_rows == 1


@pytest.mark.parametrize(
    "ticket",
    [b"", b"rubbish", b"\x0a\xff\xff\xff\xff\x0f"],
    ids=["empty", "rubbish", "cut off"],
)
def test_malformed_tickets(alice, ticket):
    # pyarrow maps INVALID_ARGUMENT to ArrowInvalid.
    with pytest.raises(pa.ArrowInvalid):
        alice.flight().read(flight.Ticket(ticket))


@pytest.mark.parametrize("handle", [b"", b"x" * 80], ids=["empty", "unsealed"])
def test_tickets_that_there_are_not(alice, handle):
    # pyarrow maps NOT_FOUND to KeyError.
    client, ticket = alice.flight(), flightsql.command("TicketStatementQuery", {1: handle})
    with pytest.raises(KeyError):
        client.read(flight.Ticket(ticket))
    with pytest.raises(KeyError):
        client.info("CommandPreparedStatementQuery", {1: handle})
    with pytest.raises(KeyError):
        client.action("EndTransaction", flightsql.command("ActionEndTransactionRequest", {1: handle, 2: 1}))
    with pytest.raises(KeyError):
        client.action("EndSavepoint", flightsql.command("ActionEndSavepointRequest", {1: handle, 2: 1}))


def test_a_ticket_with_one_bit_flipped(alice):
    client = alice.flight()
    ticket = bytearray(client.info("CommandStatementQuery", {1: "SELECT 1"}).endpoints[0].ticket.ticket)
    ticket[-5] ^= 1
    with pytest.raises(KeyError):
        client.read(flight.Ticket(bytes(ticket)))


def prepare(client, sql: str) -> bytes:
    [result] = client.action(
        "CreatePreparedStatement", flightsql.command("ActionCreatePreparedStatementRequest", {1: sql})
    )
    return flightsql.decode(flightsql.decode(result)[2][0])[1][0]


def close(client, handle: bytes) -> None:
    client.action("ClosePreparedStatement", flightsql.command("ActionClosePreparedStatementRequest", {1: handle}))


def test_anothers_prepared_statement(alice, bob, items):
    mine, theirs = alice.flight(), bob.flight()
    handle = prepare(mine, f"INSERT INTO {items} VALUES (1, 'x', 1)")
    with pytest.raises(flight.FlightUnauthorizedError):
        theirs.info("CommandPreparedStatementQuery", {1: handle})
    with pytest.raises(flight.FlightUnauthorizedError):
        theirs.put(flightsql.command("CommandPreparedStatementUpdate", {1: handle}), pa.schema([]))
    with pytest.raises(flight.FlightUnauthorizedError):
        close(theirs, handle)
    assert alice.rows(f"SELECT count(*) FROM {items}") == bob.rows(f"SELECT count(*) FROM {items}") == [(0,)]
    reply = mine.put(flightsql.command("CommandPreparedStatementUpdate", {1: handle}), pa.schema([]))
    assert flightsql.decode(reply)[1] == [1]


def test_a_handle_lives_until_it_is_closed(alice):
    client = alice.flight()
    handle = prepare(client, "SELECT 1 AS one")
    for _ in range(3):
        assert client.fetch("CommandPreparedStatementQuery", {1: handle}).to_pylist() == [{"one": 1}]
    close(client, handle)
    with pytest.raises(KeyError):  # pyarrow's NOT_FOUND
        client.fetch("CommandPreparedStatementQuery", {1: handle})


def test_the_flight_infos_schema_is_the_streams(alice, items):
    client = alice.flight()
    for sql in (
        f"SELECT * FROM {items}",
        f"SELECT id, count(*) AS n, 'x' AS x FROM {items} GROUP BY id",
        "SELECT 1, NULL",
    ):
        info = client.info("CommandStatementQuery", {1: sql})
        assert info.schema.equals(client.read(info.endpoints[0].ticket).schema, check_metadata=True)
        assert info.endpoints[0].locations == []
        descriptor = flight.FlightDescriptor.for_command(flightsql.command("CommandStatementQuery", {1: sql}))
        assert client.flight.get_schema(descriptor, client.options).schema.equals(info.schema)
