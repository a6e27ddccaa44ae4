"""The same SQL text, another user, another answer."""

import pyarrow.compute as pc

from demo import adbc, data
from demo.report import tuples

BY_ORIGIN = """
    SELECT origin, count(*) AS flights, sum(distance) AS miles, avg(arr_delay) AS arr_delay,
        count(DISTINCT dest) AS dests
    FROM aviation.flights GROUP BY origin ORDER BY origin"""


def by_origin(flights) -> list[tuple]:
    sums = flights.group_by("origin").aggregate(
        [([], "count_all"), ("distance", "sum"), ("arr_delay", "mean"), ("dest", "count_distinct")]
    )
    names = ["origin", "count_all", "distance_sum", "arr_delay_mean", "dest_count_distinct"]
    return tuples(sums.select(names).sort_by("origin"))


def run(world) -> None:
    report = world.report
    report.section("The same SQL text, asked by United and by Hawaiian")
    for carrier in ("UA", "HA"):
        answer = world.ask(carrier, BY_ORIGIN)
        report.check(f"{carrier} gets {carrier}'s flights", tuples(answer), by_origin(world.flights[carrier]))

    seen = {c: adbc.query(world.as_user(c), "SELECT DISTINCT carrier FROM aviation.flights") for c in data.carriers()}
    report.check(
        "no carrier sees a row of another",
        {c: table.column(0).to_pylist() for c, table in seen.items()},
        {c: [c] for c in data.carriers()},
    )
    stolen = world.ask("UA", "SELECT count(*) AS stolen FROM aviation.flights WHERE carrier <> 'UA' OR flight = 51")
    own = world.flights["UA"].filter(pc.field("flight") == 51).num_rows
    report.check("asking for others' rows by predicate finds own rows only", tuples(stolen), [(own,)])
    everything = world.ask("admin", "SELECT count(*) AS flights FROM aviation.flights")
    report.check("the administrator sees nobody's rows", tuples(everything), [(0,)])
    report.check("a carrier cannot write a shared table", refused(world, "UA"), "PermissionDenied")


def refused(world, carrier: str) -> str:
    statement = "DELETE FROM aviation.airlines WHERE carrier = 'HA'"
    world.report.sql(carrier, statement)
    try:
        adbc.change(world.as_user(carrier), statement)
    except Exception as error:
        world.report.say(f"   {error}".splitlines()[0])
        return adbc.code(error)
    return "not refused"
