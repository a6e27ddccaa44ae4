"""The administrator declares each table once, and the sixteen users."""

from demo import adbc, data

FLIGHTS = """
    CREATE USER TABLE aviation.flights (
        year SMALLINT NOT NULL, month SMALLINT NOT NULL, day SMALLINT NOT NULL,
        dep_time SMALLINT, sched_dep_time SMALLINT NOT NULL, dep_delay SMALLINT,
        arr_time SMALLINT, sched_arr_time SMALLINT NOT NULL, arr_delay SMALLINT,
        carrier TEXT NOT NULL, flight INT NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL,
        air_time SMALLINT, distance SMALLINT NOT NULL, hour SMALLINT NOT NULL, minute SMALLINT NOT NULL,
        time_hour TIMESTAMP(6) WITH TIME ZONE NOT NULL,
        PRIMARY KEY (year, month, day, carrier, flight, origin))"""

SHARED = [
    "CREATE SHARED TABLE aviation.airlines (carrier TEXT PRIMARY KEY, name TEXT NOT NULL)",
    """CREATE SHARED TABLE aviation.airports (
        faa TEXT PRIMARY KEY, name TEXT NOT NULL, lat DOUBLE, lon DOUBLE, alt INT, tz SMALLINT,
        dst TEXT, tzone TEXT)""",
    """CREATE SHARED TABLE aviation.planes (
        tailnum TEXT PRIMARY KEY, year SMALLINT, type TEXT, manufacturer TEXT, model TEXT,
        engines SMALLINT, seats SMALLINT, speed SMALLINT, engine TEXT)""",
    """CREATE SHARED TABLE aviation.weather (
        origin TEXT, year SMALLINT, month SMALLINT, day SMALLINT, hour SMALLINT,
        temp DOUBLE, dewp DOUBLE, humid DOUBLE, wind_dir SMALLINT, wind_speed DOUBLE, wind_gust DOUBLE,
        precip DOUBLE, pressure DOUBLE, visib DOUBLE, time_hour TIMESTAMP(6) WITH TIME ZONE,
        PRIMARY KEY (origin, time_hour))""",
]


def run(world) -> None:
    world.report.section("One declaration of each table, one user per carrier")
    world.tell("admin", "CREATE NAMESPACE aviation")
    world.tell("admin", FLIGHTS)
    for statement in SHARED:
        world.tell("admin", statement)
    for carrier in data.carriers():
        adbc.change(world.as_user("admin"), f"CREATE USER \"{carrier}\" PASSWORD '{world.passwords[carrier]}'")
    world.report.sql("admin", "CREATE USER \"UA\" PASSWORD '…'     -- and 15 more")
    with world.as_user("admin").cursor() as cursor:
        objects = cursor.connection.adbc_get_objects(depth="tables", catalog_filter="insula").read_all().to_pylist()
    schemas = {schema["db_schema_name"]: schema for schema in objects[0]["catalog_db_schemas"]}
    tables = sorted(table["table_name"] for table in schemas["aviation"]["db_schema_tables"])
    world.report.check("GetObjects lists the five tables", tables, sorted(data.TYPES))
