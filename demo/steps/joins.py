"""Own rows joined with tables that all users share."""

import pyarrow as pa
import pyarrow.compute as pc

from demo import data
from demo.report import tuples

FARTHEST = """
    SELECT a.name AS airline, p.name AS airport, count(*) AS flights, sum(f.distance) AS miles
    FROM aviation.flights f
    JOIN aviation.airlines a ON a.carrier = f.carrier
    JOIN aviation.airports p ON p.faa = f.dest
    GROUP BY a.name, p.name ORDER BY miles DESC, airport LIMIT 5"""

WIND = """
    SELECT f.origin, count(*) AS flights, avg(f.dep_delay) AS dep_delay
    FROM aviation.flights f JOIN aviation.weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
    WHERE w.wind_speed > 25 GROUP BY f.origin ORDER BY f.origin"""

MAKERS = """
    SELECT p.manufacturer, count(*) AS flights, count(DISTINCT f.tailnum) AS planes
    FROM aviation.flights f LEFT JOIN aviation.planes p USING (tailnum)
    GROUP BY p.manufacturer ORDER BY flights DESC, p.manufacturer LIMIT 5"""


def farthest(flights: pa.Table) -> list[tuple]:
    airports = data.load("airports").select(["faa", "name"]).rename_columns(["dest", "airport"])
    joined = flights.join(data.load("airlines"), "carrier", join_type="inner").join(airports, "dest", join_type="inner")
    sums = joined.group_by(["name", "airport"]).aggregate([([], "count_all"), ("distance", "sum")])
    ordered = sums.sort_by([("distance_sum", "descending"), ("airport", "ascending")])
    return tuples(ordered.select(["name", "airport", "count_all", "distance_sum"]))[:5]


def wind(flights: pa.Table) -> list[tuple]:
    windy = data.load("weather").filter(pc.field("wind_speed") > 25).select(["origin", "time_hour"])
    joined = flights.join(windy, ["origin", "time_hour"], join_type="inner")
    sums = joined.group_by("origin").aggregate([([], "count_all"), ("dep_delay", "mean")])
    return tuples(sums.select(["origin", "count_all", "dep_delay_mean"]).sort_by("origin"))


def makers(flights: pa.Table) -> list[tuple]:
    maker = dict(tuples(data.load("planes").select(["tailnum", "manufacturer"])))
    counted: dict = {}
    for tail in flights["tailnum"].to_pylist():
        flown, tails = counted.setdefault(maker.get(tail), [0, set()])
        counted[maker.get(tail)][0] = flown + 1
        tails.update([tail] if tail else [])
    rows = [(name, flown, len(tails)) for name, (flown, tails) in counted.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0] is None, row[0]))[:5]


def run(world) -> None:
    world.report.section("Joins of own rows with shared tables")
    for carrier in ("UA", "HA"):
        answer = world.ask(carrier, FARTHEST)
        world.report.check(f"{carrier}'s destinations by name", tuples(answer), farthest(world.flights[carrier]))
    answer = world.ask("DL", WIND)
    world.report.check("DL's departures in strong wind", tuples(answer), wind(world.flights["DL"]))
    answer = world.ask("AA", MAKERS)
    world.report.check("AA's planes by maker, unknown ones included", tuples(answer), makers(world.flights["AA"]))
