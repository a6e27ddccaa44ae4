"""Who is asking: Handshake, Basic, bearer, --dev, and that nothing is answered to nobody."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import dbapi

from demo import adbc, flightsql, grpcurl
from demo.server import Server

SELECT = flightsql.command("CommandStatementQuery", {1: "SELECT 1"})
DESCRIPTOR = flight.FlightDescriptor.for_command(SELECT)


def do_put(client, options):
    writer, reader = client.do_put(DESCRIPTOR, pa.schema([]), options)
    with writer:
        writer.done_writing()
        reader.read()


def do_exchange(client, options):
    writer, reader = client.do_exchange(DESCRIPTOR, options)
    with writer:
        writer.begin(pa.schema([]))
        writer.done_writing()
        reader.read_all()


CALLS = {
    "ListFlights": lambda client, options: list(client.list_flights(options=options)),
    "GetFlightInfo": lambda client, options: client.get_flight_info(DESCRIPTOR, options),
    "GetSchema": lambda client, options: client.get_schema(DESCRIPTOR, options),
    "DoGet": lambda client, options: client.do_get(flight.Ticket(SELECT), options).read_all(),
    "DoPut": do_put,
    "DoExchange": do_exchange,
    "DoAction": lambda client, options: list(client.do_action(flight.Action("CreatePreparedStatement", b""), options)),
    "ListActions": lambda client, options: list(client.list_actions(options)),
}
BAD = {
    "no credentials": [],
    "an unknown token": [(b"authorization", b"Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
    "not base64": [(b"authorization", b"Basic %%%")],
    "a wrong password": [(b"authorization", b"Basic YWRtaW46d3Jvbmc=")],
    "a nameless Basic": [(b"authorization", b"Basic Og==")],
    "an unknown scheme": [(b"authorization", b"Digest abc")],
    "a name without --dev": [(b"x-insula-user", b"admin")],
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("rpc", CALLS)
def test_every_rpc_wants_credentials(server, rpc, bad):
    with flight.FlightClient(server.url.replace("grpc://", "grpc+tcp://")) as client:
        # pyarrow raises a plain OSError for GetSchema.
        with pytest.raises((flight.FlightUnauthenticatedError, OSError), match="(?i)unauthenticated"):
            CALLS[rpc](client, flight.FlightCallOptions(headers=BAD[bad]))


def test_poll_wants_credentials(server):
    done = grpcurl.run(server.address, grpcurl.FLIGHT + "PollFlightInfo", data={"type": "CMD"})
    assert done.returncode and "Unauthenticated" in done.stderr


def test_handshake_wants_credentials(server, alice):
    with flight.FlightClient(server.url.replace("grpc://", "grpc+tcp://")) as client:
        for name, password in [(alice.name, "wrong"), ("nobody", "wrong"), ("", ""), (alice.name, "")]:
            with pytest.raises(flight.FlightUnauthenticatedError):
                client.authenticate_basic_token(name, password)


def test_unknown_user_and_wrong_password_read_the_same(server, alice):
    said = []
    for name in (alice.name, "nobody-of-this-name"):
        with pytest.raises(dbapi.Error) as failure:
            adbc.connect(server.url, name, "wrong").close()
        said.append(str(failure.value).replace(name, "NAME"))
    assert said[0] == said[1]


def test_handshake_gives_a_bearer_token(alice):
    client = alice.flight()
    assert client.bearer[0].lower() == b"authorization" and client.bearer[1].startswith(b"Bearer ")
    assert client.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_basic_works_on_any_rpc(server, alice):
    basic = grpcurl.basic(alice.name, alice.password).split(": ")[1].encode()
    options = flight.FlightCallOptions(headers=[(b"authorization", basic)])
    with flight.FlightClient(server.url.replace("grpc://", "grpc+tcp://")) as client:
        info = client.get_flight_info(DESCRIPTOR, options)
        assert client.do_get(info.endpoints[0].ticket, options).read_all().num_rows == 1


def test_health_and_reflection_are_open(server):
    assert "SERVING" in grpcurl.call(server.address, "grpc.health.v1.Health/Check")
    assert "arrow.flight.protocol.FlightService" in grpcurl.call(server.address, "list")


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("dev") / "data", "--dev") as server:
        yield server


def test_dev_takes_any_name(dev):
    with adbc.connect_dev(dev.url, "admin") as admin, adbc.connect(dev.url, "someone", "") as someone:
        adbc.change(admin, "CREATE NAMESPACE app")
        adbc.change(admin, "CREATE TABLE app.t (id INT PRIMARY KEY)")
        adbc.change(someone, "INSERT INTO app.t VALUES (1)")
        assert adbc.scalar(someone, "SELECT count(*) FROM app.t") == 1
        assert adbc.scalar(admin, "SELECT count(*) FROM app.t") == 0
        with adbc.connect_dev(dev.url, "someone") as same:
            assert adbc.scalar(same, "SELECT count(*) FROM app.t") == 1


def test_dev_knows_whoever_is_named(dev):
    with adbc.connect_dev(dev.url, "admin") as admin:
        adbc.change(admin, "CREATE SHARED TABLE prices (id INT PRIMARY KEY) WITH (grants = 'none')")
        adbc.change(admin, 'GRANT SELECT ON prices TO "bob to be"')
        assert adbc.scalar(admin, "EXECUTE AS USER 'also new' (SELECT CURRENT_USER)") == "also new"
        for name in ("", "n" * 257):
            with pytest.raises(dbapi.Error) as refused:
                adbc.scalar(admin, f"EXECUTE AS USER '{name}' (SELECT 1)")
            assert adbc.code(refused.value) == "InvalidArgument", refused.value
    with adbc.connect_dev(dev.url, "bob to be") as bob, adbc.connect_dev(dev.url, "someone else") as other:
        assert adbc.scalar(bob, "SELECT count(*) FROM prices") == 0
        with pytest.raises(dbapi.Error) as refused:
            adbc.scalar(other, "SELECT count(*) FROM prices")
        assert adbc.code(refused.value) == "PermissionDenied"
        # Nobody makes users who may not act for them.
        with pytest.raises(dbapi.Error) as refused:
            adbc.scalar(other, "EXECUTE AS USER 'never made' (SELECT 1)")
        assert adbc.code(refused.value) == "PermissionDenied"
    with adbc.connect_dev(dev.url, "admin") as admin:
        assert adbc.scalar(admin, "SELECT count(*) FROM system.users WHERE \"user\" = 'never made'") == 0


def test_dev_still_wants_a_name(dev):
    with flight.FlightClient(dev.url.replace("grpc://", "grpc+tcp://")) as client:
        with pytest.raises(flight.FlightUnauthenticatedError):
            client.get_flight_info(DESCRIPTOR)


def test_a_trusted_header_is_the_identity(tmp_path):
    with Server(tmp_path / "data", "--trust-user-header", "x-forwarded-user") as server:
        header = adbc.HEADER + "x-forwarded-user"
        with dbapi.connect(server.url, {header: "carol"}, autocommit=True) as carol:
            assert adbc.scalar(carol, "SELECT CURRENT_USER") == "carol"


def test_current_user(alice):
    assert alice.rows("SELECT CURRENT_USER") == [(alice.name,)]
