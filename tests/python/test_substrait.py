"""Substrait plans through ADBC, made by another engine's producer, as a data frame library would send them."""

import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi
from datafusion import SessionContext
from datafusion.substrait import Serde

from demo import adbc


def plan_of(sql: str, table: str, schema: pa.Schema) -> bytes:
    """What the producer makes of a query of one table, of which it knows the columns."""
    context = SessionContext()
    context.register_record_batches(table, [[pa.RecordBatch.from_pylist([], schema=schema)]])
    return Serde.serialize_bytes(sql, context)


def run(login, plan: bytes) -> pa.Table:
    with login.connection.cursor() as cursor:
        cursor.adbc_statement.set_substrait_plan(plan)
        stream, _ = cursor.adbc_statement.execute_query()
        return pa.RecordBatchReader.from_stream(stream).read_all()


@pytest.fixture
def filled(admin, alice, bob):
    """In the namespace that names without one mean."""
    admin.change("CREATE TABLE IF NOT EXISTS substrait_items (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    alice.change("INSERT INTO substrait_items SELECT value, 'a' || value FROM generate_series(1, 100)")
    bob.change("INSERT INTO substrait_items SELECT value, 'b' || value FROM generate_series(1, 7)")
    yield "substrait_items", pa.schema([pa.field("id", pa.int64(), False), pa.field("name", pa.string(), False)])
    admin.change("DROP TABLE substrait_items")


def test_a_plan_reads_the_callers_rows(alice, bob, filled):
    table, schema = filled
    sql = f"SELECT id, upper(name) AS name FROM {table} WHERE id % 3 = 0 ORDER BY id DESC LIMIT 2"
    plan = plan_of(sql, table, schema)
    assert run(alice, plan).to_pylist() == [{"id": 99, "name": "A99"}, {"id": 96, "name": "A96"}]
    assert run(bob, plan).to_pylist() == [{"id": 6, "name": "B6"}, {"id": 3, "name": "B3"}]
    plan = plan_of(f"SELECT count(*) AS n, max(name) AS last FROM {table}", table, schema)
    assert run(bob, plan).to_pylist() == [{"n": 7, "last": "b7"}]


def test_a_plan_is_prepared_and_run_again(alice, filled):
    table, schema = filled
    plan = plan_of(f"SELECT sum(id) AS s FROM {table}", table, schema)
    with alice.connect().cursor() as cursor:
        statement = cursor.adbc_statement
        statement.set_substrait_plan(plan)
        statement.prepare()
        for more in (0, 1000):
            if more:
                alice.change(f"INSERT INTO {table} VALUES ({more}, 'later')")
            stream, _ = statement.execute_query()
            assert pa.RecordBatchReader.from_stream(stream).read_all()["s"].to_pylist() == [5050 + more]


def test_what_is_no_plan_or_names_nothing_says_so(alice, filled):
    _, schema = filled
    nowhere = plan_of("SELECT id FROM nowhere", "nowhere", schema)
    for plan, code in ((b"\xff\xff\xff", "InvalidArgument"), (nowhere, "NotFound")):
        with pytest.raises(dbapi.Error) as refused:
            run(alice, plan)
        assert adbc.code(refused.value) == code, refused.value
