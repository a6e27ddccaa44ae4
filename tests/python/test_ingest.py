"""Bulk ingest: create and append, all or nothing."""

import subprocess
import sys

import pyarrow as pa
import pytest

from demo import adbc, flightsql

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string()), ("size", pa.int32())])


def batch(ids, name="n") -> pa.RecordBatch:
    ids = list(ids)
    return pa.record_batch({"id": ids, "name": [name] * len(ids), "size": pa.array(ids, pa.int32())}, schema=SCHEMA)


def test_create_then_append(admin, alice, namespace, refused):
    assert admin.ingest(f"{namespace}.new", batch(range(3)), "create") == 3
    assert admin.ingest(f"{namespace}.new", batch(range(3, 5)), "append") == 2
    assert admin.rows(f"SELECT id, name, size FROM {namespace}.new ORDER BY id") == [(i, "n", i) for i in range(5)]
    # The table is a user table: its rows are the administrator's own.
    assert alice.rows(f"SELECT count(*) FROM {namespace}.new") == [(0,)]
    with refused("AlreadyExists", "new"):
        admin.ingest(f"{namespace}.new", batch(range(3)), "create")
    with refused("NotFound", "absent"):
        admin.ingest(f"{namespace}.absent", batch(range(3)), "append")
    with refused("PermissionDenied"):
        alice.ingest(f"{namespace}.other", batch(range(3)), "create")


def test_many_batches(alice, items):
    batches = [batch(range(i * 1000, i * 1000 + 1000)) for i in range(50)]
    assert alice.ingest(items, pa.RecordBatchReader.from_batches(SCHEMA, batches)) == 50_000
    assert alice.rows(f"SELECT count(*), count(DISTINCT id), sum(id) FROM {items}") == [(50_000, 50_000, 1_249_975_000)]


def test_columns_by_name_in_any_order_and_defaults(alice, items):
    alice.ingest(items, pa.table({"name": ["x"], "id": pa.array([1], pa.int64())}))
    assert alice.rows(f"SELECT * FROM {items}") == [(1, "x", 7)]


@pytest.mark.parametrize(
    "data, words",
    [
        (pa.table({"id": [1], "name": ["x"], "colour": ["red"]}), "colour"),
        (pa.table({"id": ["one"], "name": ["x"]}), "id"),
        (pa.table({"id": [1], "name": [[1, 2]]}), "name"),
        (pa.table({"id": [1]}), "name"),
        (pa.table({"id": pa.array([None], pa.int64()), "name": ["x"]}), "id"),
        (pa.table({"id": [1], "name": pa.array([None], pa.string())}), "name"),
        (pa.table({"id": [1], "name": ["x"], "_deleted": [True]}), "_deleted"),
    ],
    ids=["unknown column", "wrong type", "nested type", "missing column", "null key", "null", "system column"],
)
def test_a_schema_that_does_not_fit(alice, items, refused, data, words):
    with refused("InvalidArgument", words):
        alice.ingest(items, data)
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]


@pytest.mark.parametrize("flushed", [False, True])
def test_a_duplicate_key_stores_nothing(admin, alice, bob, items, refused, flushed):
    alice.ingest(items, batch([4_999]))
    if flushed:
        admin.change(f"FLUSH TABLE {items}")
    batches = [batch(range(i, i + 1000)) for i in range(0, 5_000, 1_000)]
    with refused("AlreadyExists"):
        alice.ingest(items, pa.RecordBatchReader.from_batches(SCHEMA, batches))
    with refused("AlreadyExists"):
        alice.ingest(items, batch([1, 2, 1]))
    assert alice.rows(f"SELECT id FROM {items}") == [(4_999,)]
    assert bob.ingest(items, pa.RecordBatchReader.from_batches(SCHEMA, batches)) == 5_000


def test_an_empty_ingest(alice, items):
    # By hand: of a stream without rows the ADBC driver sends nothing at all, not even what to ingest into.
    namespace, table = items.split(".")
    append = flightsql.command("CommandStatementIngest", {1: flightsql.encode({1: 2, 2: 2}), 2: table, 3: namespace})
    for batches in ([], [batch([])]):
        assert flightsql.decode(alice.flight().put(append, SCHEMA, batches)).get(1, [0]) == [0]
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]


VANISH = """
import os, signal, sys
import pyarrow as pa, pyarrow.flight as flight
from demo import flightsql
url, user, password, namespace, table = sys.argv[1:]
client = flightsql.Client(url, user, password)
body = flightsql.command("CommandStatementIngest", {1: flightsql.encode({1: 2, 2: 2}), 2: table, 3: namespace})
schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
writer, _ = client.flight.do_put(flight.FlightDescriptor.for_command(body), schema, client.options)
for i in range(200):
    ids = list(range(i * 1000, i * 1000 + 1000))
    writer.write_batch(pa.record_batch({"id": ids, "name": ["x"] * 1000}, schema=schema))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_vanishes_stores_nothing(alice, items, pytestconfig):
    namespace, table = items.split(".")
    arguments = [alice.server.url, alice.name, alice.password, namespace, table]
    done = subprocess.run(
        [sys.executable, "-c", VANISH, *arguments], cwd=pytestconfig.rootpath, env={"PYTHONPATH": "."}
    )
    assert done.returncode == -9
    # The server goes on, and however long it takes to notice, the rows are not there.
    for i in range(50):
        assert alice.ingest(items, batch([1_000_000 + i])) == 1
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(50,)]


def test_unspecified_modes_and_temporary_tables_are_refused(admin, namespace):
    client = admin.flight()
    put = lambda fields: client.put(flightsql.command("CommandStatementIngest", fields), SCHEMA, [batch([1])])
    with pytest.raises(pa.ArrowInvalid):
        put({2: "t", 3: namespace})
    with pytest.raises(pa.ArrowNotImplementedError):
        put({1: flightsql.encode({1: 1, 2: 1}), 2: "t", 3: namespace, 5: True})
    with pytest.raises(KeyError):
        put({1: flightsql.encode({1: 1, 2: 1}), 2: "t", 3: namespace, 4: "no_such_catalog"})
    assert client.fetch("CommandGetTables", {2: namespace}).num_rows == 0


def test_ingest_names_are_names(admin, alice, namespace):
    """Not folded, not parsed."""
    odd = 'Odd "name"; DROP'
    with admin.connection.cursor() as cursor:
        cursor.adbc_ingest(odd, batch([1]), mode="create", db_schema_name=namespace)
    quoted = '"' + odd.replace('"', '""') + '"'
    assert adbc.scalar(admin.connection, f"SELECT count(*) FROM {namespace}.{quoted}") == 1
