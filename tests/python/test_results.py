"""How results travel, as ADBC and pyarrow ask for it: parts, compression, cancelling, and the list of flights."""

import threading

import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as flight
import pytest

HEADER = "adbc.flight.sql.rpc.call_header."


@pytest.fixture
def filled(admin, alice, namespace):
    table = f"{namespace}.t"
    admin.change(f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, v TEXT)")
    alice.change(f"INSERT INTO {table} SELECT value, 'row ' || value FROM generate_series(1, 5000)")
    admin.change(f"FLUSH TABLE {table}")
    alice.change(f"INSERT INTO {table} SELECT value, 'row ' || value FROM generate_series(5001, 6000)")
    return table


def test_partitions_are_read_apart_and_are_the_whole(alice, filled):
    connection = alice.connect()
    connection.adbc_connection.set_options(**{HEADER + "x-insula-partitions": "on"})
    with connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions(f"SELECT id, v FROM {filled}")
        assert schema.names == ["id", "v"] and len(partitions) > 1
        ids = []
        for partition in partitions:
            cursor.adbc_read_partition(partition)
            ids += cursor.fetch_arrow_table().column("id").to_pylist()
    assert sorted(ids) == list(range(1, 6001))


def test_a_query_with_a_filter_comes_in_parts(alice, filled):
    connection = alice.connect()
    connection.adbc_connection.set_options(**{HEADER + "x-insula-partitions": "on"})
    with connection.cursor() as cursor:
        sql = f"SELECT upper(v) AS u, id * 2 AS twice FROM {filled} WHERE id % 2 = 0 AND v LIKE 'row %'"
        partitions, schema = cursor.adbc_execute_partitions(sql)
        assert schema.names == ["u", "twice"] and len(partitions) > 1
        # All parts are of the moment of the question.
        alice.change(f"DELETE FROM {filled}")
        for _ in range(2):
            found = []
            for partition in partitions:
                cursor.adbc_read_partition(partition)
                found += cursor.fetch_arrow_table().to_pylist()
            assert sorted(row["twice"] for row in found) == list(range(4, 12001, 4))
            assert all(row["u"] == f"ROW {row['twice'] // 2}" for row in found)
        whole, _ = cursor.adbc_execute_partitions(f"SELECT id FROM {filled} WHERE id > 5 ORDER BY id")
        assert len(whole) == 1


def test_compressed_rows_are_the_rows(alice, filled):
    plain = alice.query(f"SELECT * FROM {filled} ORDER BY id")
    for way in ("lz4", "zstd"):
        connection = alice.connect()
        connection.adbc_connection.set_options(**{HEADER + "x-insula-compression": way})
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {filled} ORDER BY id")
            assert cursor.fetch_arrow_table() == plain


def test_views_for_those_who_can_read_them(alice):
    with alice.flight() as client:
        options = flight.FlightCallOptions(headers=[client.bearer, (b"x-insula-arrow-types", b"views")])
        from demo.flightsql import command

        body = command("CommandStatementQuery", {1: "SELECT arrow_cast('x', 'Utf8View') v"})
        assert client.read(flight.Ticket(body)).schema.field("v").type == pa.string()
        table = client.flight.do_get(flight.Ticket(body), options).read_all()
        assert table.schema.field("v").type == pa.string_view()


def test_cancel_ends_a_statement_that_computes(alice):
    endless = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value * b.value % 7 = 3"
    connection, ended = alice.connect(), []
    cursor = connection.cursor()

    def run():
        try:
            cursor.execute(endless)
            cursor.fetchall()
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    running = f"SELECT count(*) FROM system.queries WHERE text = '{endless}'"
    while alice.rows(running) == [(0,)]:
        assert thread.is_alive(), ended
    cursor.adbc_cancel()
    thread.join(60)
    assert not thread.is_alive() and isinstance(ended[0], adbc_driver_manager.OperationalError), ended
    while alice.rows(running) != [(0,)]:
        pass


def test_flights_are_tables(alice, bob, filled):
    with alice.flight() as client, bob.flight() as other:
        [info] = client.flight.list_flights(filled.encode(), client.options)
        assert info.schema.names == ["id", "v"]
        ticket = info.endpoints[0].ticket
        assert client.read(ticket).num_rows == 6000
        assert other.read(ticket).num_rows == 0


def test_incremental_partitions(alice, items):
    """PollFlightInfo, as ADBC sends it: again and again until there are no new partitions."""
    alice.ingest(items, pa.table({"id": range(1_000), "name": ["n"] * 1_000}))
    with alice.connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.statement.exec.incremental": "true"})
        cursor.adbc_statement.set_sql_query(f"SELECT id FROM {items}")
        partitions = []
        while more := cursor.adbc_statement.execute_partitions()[0]:
            partitions += more
    ids = []
    for partition in partitions:
        with alice.connection.cursor() as cursor:
            cursor.adbc_read_partition(partition)
            ids += cursor.fetch_arrow_table()["id"].to_pylist()
    assert sorted(ids) == list(range(1_000))


def test_values_of_mixed_types_are_not_cut_down_to_those_of_the_first_branch(admin, alice, namespace):
    assert alice.rows("SELECT 1 AS n UNION ALL SELECT 2.5 ORDER BY n") == [(1.0,), (2.5,)]
    assert alice.rows("SELECT CASE WHEN v = 1 THEN 1 ELSE 2.5 END FROM (VALUES (1), (2)) t(v) ORDER BY v") == [(1.0,), (2.5,)]
    assert alice.rows("SELECT sum(CASE WHEN v = 1 THEN 0 ELSE 0.25 END) FROM (VALUES (1), (2)) t(v)") == [(0.25,)]
    assert alice.rows("SELECT NULL AS n UNION ALL SELECT 1 ORDER BY n NULLS FIRST") == [(None,), (1,)]
    admin.change(f"CREATE TABLE {namespace}.mixed AS SELECT 1 AS a UNION ALL SELECT 2.5")
    assert sorted(admin.rows(f"SELECT a FROM {namespace}.mixed")) == [(1.0,), (2.5,)]
