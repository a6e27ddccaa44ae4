"""UPDATE and DELETE by one carrier, and what the system columns tell of them."""

import pyarrow as pa
import pyarrow.compute as pc

from demo import adbc, data
from demo.report import tuples

LATE = "UPDATE aviation.flights SET dep_delay = dep_delay + 5 WHERE origin = 'EWR' AND month = 12"
CANCELLED = "DELETE FROM aviation.flights WHERE dep_time IS NULL"
OLD_PLANES = """
    DELETE FROM aviation.flights
    WHERE tailnum IN (SELECT tailnum FROM aviation.planes WHERE year < 1990)"""


def set_column(table: pa.Table, name: str, where: pa.Array, values: pa.Array) -> pa.Table:
    """What UPDATE does, done by pyarrow."""
    index = table.column_names.index(name)
    changed = pc.if_else(where, values, table[name]).cast(table.schema.field(name).type)
    return table.set_column(index, table.schema.field(name), changed)


def run(world) -> None:
    report = world.report
    report.section("UPDATE and DELETE by one carrier leave the others untouched")
    last = {c: adbc.scalar(world.as_user(c), "SELECT max(_updated) FROM aviation.flights") for c in ("UA", "HA")}

    flights = world.flights["UA"]
    where = pc.and_(pc.equal(flights["origin"], "EWR"), pc.equal(flights["month"], 12))
    touched = pc.sum(where).as_py()
    report.check(f"UA's UPDATE changes {touched:,} rows", world.tell("UA", LATE), touched)
    world.flights["UA"] = set_column(flights, "dep_delay", where, pc.add(flights["dep_delay"], 5))

    flights = world.flights["US"]
    cancelled = pc.is_null(flights["dep_time"])
    gone = pc.sum(cancelled).as_py()
    report.check(f"US's DELETE takes {gone:,} rows", world.tell("US", CANCELLED), gone)
    world.flights["US"] = flights.filter(pc.invert(cancelled))

    flights = world.flights["DL"]
    old = data.load("planes").filter(pc.field("year") < 1990)["tailnum"]
    flown = pc.is_in(flights["tailnum"], old)
    taken = pc.sum(flown).as_py()
    report.check(f"DL's DELETE by subquery takes {taken:,} rows", world.tell("DL", OLD_PLANES), taken)
    world.flights["DL"] = flights.filter(pc.invert(flown))

    world.check_all_flights("after the changes")
    report.section("_updated and _deleted")
    answer = world.ask(
        "US", "SELECT _deleted, count(*) AS rows FROM aviation.flights GROUP BY _deleted ORDER BY _deleted"
    )
    report.check(
        "deleted rows are seen by who asks for them",
        tuples(answer),
        [(False, world.flights["US"].num_rows), (True, gone)],
    )
    sql = "SELECT count(*) AS rows, count(DISTINCT _updated) AS commits FROM aviation.flights WHERE _updated > $1"
    answer = world.ask("UA", sql, [last["UA"]])
    report.check("_updated tells the rows that UA changed, in one commit", tuples(answer), [(touched, 1)])
    answer = world.ask(
        "HA", "SELECT count(*) AS rows FROM aviation.flights WHERE _deleted OR _updated > $1", [last["HA"]]
    )
    report.check("HA's rows show no sign of it", tuples(answer), [(0,)])
