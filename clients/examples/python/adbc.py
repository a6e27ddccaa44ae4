"""Insula from Python by ADBC, with pandas and polars.

    pip install adbc-driver-flightsql adbc-driver-manager pyarrow pandas polars
    INSULA_ADMIN_PASSWORD=secret insula serve &
    python adbc.py
"""

import os

import pandas as pd
import polars as pl
from adbc_driver_flightsql import dbapi

connection = dbapi.connect(
    os.environ.get("INSULA_URL", "grpc://127.0.0.1:50051"),
    db_kwargs={
        "username": os.environ.get("INSULA_USER", "admin"),
        "password": os.environ.get("INSULA_PASSWORD", "secret"),
    },
    autocommit=True,
)

with connection, connection.cursor() as cursor:
    # A statement without a result: executescript waits for it. So does executemany, which counts its rows too.
    cursor.executescript("CREATE TABLE IF NOT EXISTS people (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)")
    cursor.executemany("REPLACE INTO people VALUES (?, ?, ?)", [(1, "Ada", 36), (2, "Grace", 85)])
    print(cursor.rowcount, "rows written")

    cursor.execute("SELECT name, age FROM people WHERE age > ? AND id < 3", (40,))
    for name, age in cursor.fetchall():
        print(name, "is", age)

    # Data frames, in and out, as Arrow: nothing is copied row by row.
    friends = pd.DataFrame({"id": [3, 4], "name": ["Alan", "Edsger"], "age": [41, 72]})
    cursor.executescript("DELETE FROM people WHERE id > 2")
    print(cursor.adbc_ingest("people", friends, mode="append"), "rows ingested")
    print(pd.read_sql("SELECT sum(age) AS years FROM people", connection).years[0], "years by pandas")
    print(pl.read_database("SELECT sum(age) AS years FROM people", connection)["years"][0], "years by polars")
