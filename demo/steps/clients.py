"""The same tables through other doors: pyarrow.flight with Flight SQL by hand, and grpcurl with no driver at all."""

import pyarrow.compute as pc

from demo import flightsql, grpcurl
from demo.report import tuples

LONGEST = "SELECT count(*) AS flights, max(distance) AS longest FROM aviation.flights"


def longest(world, carrier: str) -> list[tuple]:
    flights = world.flights[carrier]
    return [(flights.num_rows, pc.max(flights["distance"]).as_py())]


def run(world) -> None:
    pyarrow_flight(world)
    over_grpcurl(world)


def pyarrow_flight(world) -> None:
    report = world.report
    report.section("pyarrow.flight: Handshake with Basic, then the bearer token")
    for carrier in ("UA", "HA"):
        with flightsql.Client(world.server.url, carrier, world.passwords[carrier]) as client:
            report.check(f"{carrier} gets a bearer token", client.bearer[1].startswith(b"Bearer "), True)
            report.sql(carrier, LONGEST)
            answer = client.query(LONGEST)
            report.table(answer)
            report.check(f"{carrier}'s longest flight", tuples(answer), longest(world, carrier))
    with flightsql.Client(world.server.url, "UA", world.passwords["UA"]) as united:
        ticket = united.info("CommandStatementQuery", {1: LONGEST}).endpoints[0].ticket
    with flightsql.Client(world.server.url, "HA", world.passwords["HA"]) as hawaiian:
        report.check("UA's ticket in HA's hands is refused", refusal(hawaiian, ticket), "FlightUnauthorizedError")


def refusal(client, ticket) -> str:
    try:
        client.read(ticket)
    except Exception as error:
        return type(error).__name__
    return "not refused"


def over_grpcurl(world) -> None:
    report, address = world.report, world.server.address
    report.section("grpcurl: health, reflection, and a query")
    report.say("$ grpcurl … grpc.health.v1.Health/Check")
    health = grpcurl.documents(grpcurl.call(address, "grpc.health.v1.Health/Check"))
    report.check("health needs no login and says SERVING", health, [{"status": "SERVING"}])
    report.say("$ grpcurl … list")
    services = grpcurl.call(address, "list").split()
    report.say("   " + ", ".join(services))
    report.check("reflection lists Flight", "arrow.flight.protocol.FlightService" in services, True)
    nameless = grpcurl.run(address, grpcurl.FLIGHT + "ListActions")
    report.check("ListActions without a login is refused", "Unauthenticated" in nameless.stderr, True)
    login = grpcurl.basic("HA", world.passwords["HA"])
    listed = grpcurl.documents(grpcurl.call(address, grpcurl.FLIGHT + "ListActions", headers=(login,)))
    actions = {action["type"] for action in listed}
    report.check("with one it answers", {"CreatePreparedStatement", "ClosePreparedStatement"} <= actions, True)
    report.sql("HA", LONGEST)
    answer = grpcurl.query(address, LONGEST, login)
    report.table(answer)
    report.check("HA's answer by GetFlightInfo and DoGet", tuples(answer), longest(world, "HA"))
