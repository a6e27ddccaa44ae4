"""DDL and DML run exactly once on every way a client can send them."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from demo import adbc, flightsql, grpcurl
from test_tickets import close, prepare

# Each would show if it ran twice: by an error, or by what is in the table then.
STATEMENTS = (
    "CREATE TABLE {t} (id BIGINT PRIMARY KEY, n INTEGER)",
    "INSERT INTO {t} SELECT coalesce(max(id), 0) + 1, 0 FROM {t}",
    "INSERT INTO {t} SELECT coalesce(max(id), 0) + 1, 0 FROM {t}",
    "UPDATE {t} SET n = n + 1",
    "REPLACE INTO {t} SELECT id, n + 10 FROM {t}",
    "DELETE FROM {t} WHERE id IN (SELECT max(id) FROM {t})",
    "ALTER TABLE {t} ADD COLUMN note VARCHAR",
    "CREATE TABLE {t}_copy AS SELECT id, n FROM {t}",
    "DROP TABLE {t}_copy",
)


def by_execute(login, sql):
    with login.connection.cursor() as cursor:
        assert cursor.execute(sql).fetchall() == []


def by_executemany(login, sql):
    adbc.change(login.connection, sql)


def by_executescript(login, sql):
    adbc.script(login.connection, sql)


def by_flight_info_and_do_get(login, sql):
    assert login.flight().query(sql).num_rows == 0


def by_do_get_alone(login, sql):
    """The command itself is the ticket."""
    command = flightsql.command("CommandStatementQuery", {1: sql})
    assert login.flight().read(flight.Ticket(command)).num_rows == 0


def by_do_put(login, sql):
    login.flight().update(sql)


def by_prepared_query(login, sql):
    client = login.flight()
    handle = prepare(client, sql)
    assert client.fetch("CommandPreparedStatementQuery", {1: handle}).num_rows == 0
    close(client, handle)


def by_prepared_update(login, sql):
    client = login.flight()
    handle = prepare(client, sql)
    client.put(flightsql.command("CommandPreparedStatementUpdate", {1: handle}), pa.schema([]))
    close(client, handle)


def by_grpcurl(login, sql):
    grpcurl.query(login.server.address, sql, grpcurl.basic(login.name, login.password))


WAYS = {
    way.__name__: way
    for way in (
        by_execute, by_executemany, by_executescript, by_flight_info_and_do_get, by_do_get_alone, by_do_put,
        by_prepared_query, by_prepared_update, by_grpcurl,
    )
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_statement_on_every_way(admin, namespace, way):
    table = f"{namespace}.counted"
    for statement in STATEMENTS:
        WAYS[way](admin, statement.format(t=table))
    assert admin.rows(f"SELECT id, n, note FROM {table}") == [(1, 11, None)]
    assert admin.rows(f"SELECT id, n FROM {table} WHERE _deleted") == [(2, 11)]
    assert len(admin.rows(f"DESCRIBE TABLE {table} HISTORY")) == 2  # made, altered
    WAYS[way](admin, f"DROP TABLE {table}")
    with pytest.raises(Exception, match="counted"):
        admin.rows(f"SELECT * FROM {table}")


@pytest.mark.parametrize("mode", ["create", "append", "replace", "create_append"])
def test_ingest(admin, namespace, mode):
    table = f"{namespace}.counted"
    if mode == "append":
        admin.change(f"CREATE TABLE {table} (id BIGINT, n INTEGER)")
    rows = pa.table({"id": [1, 2], "n": pa.array([0, 0], pa.int32())})
    assert admin.ingest(table, rows, mode) == 2
    assert admin.rows(f"SELECT id, n FROM {table} ORDER BY id") == [(1, 0), (2, 0)]
    assert admin.rows(f"SELECT count(DISTINCT _seq) FROM {table}") == [(1,)]


def test_executemany_runs_once_per_row(alice, items):
    assert alice.change(f"INSERT INTO {items} VALUES (?, ?, ?)", [(1, "a", 0), (2, "b", 0)]) == 2
    assert alice.change(f"UPDATE {items} SET size = size + ?", [(1,), (10,)]) == 4


def test_cursor_execute(admin, alice, namespace):
    with admin.connection.cursor() as cursor:
        assert cursor.execute(f"CREATE TABLE {namespace}.t (id INT, n INT)").fetchall() == []
    with alice.connection.cursor() as cursor:
        assert cursor.execute(f"INSERT INTO {namespace}.t VALUES (1, 0)").fetchall() == []
        # The same text again: the driver keeps the prepared statement.
        assert cursor.execute(f"INSERT INTO {namespace}.t VALUES (1, 0)").fetchall() == []
        assert cursor.execute(f"UPDATE {namespace}.t SET n = n + 1").fetchall() == []
    assert alice.rows(f"SELECT id, n FROM {namespace}.t") == [(1, 1), (1, 1)]
    with admin.connection.cursor() as cursor:
        assert cursor.execute(f"DROP TABLE {namespace}.t").fetchall() == []


def test_executescript(alice, items):
    with alice.connection.cursor() as cursor:
        cursor.executescript(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(1,)]


def test_a_ticket_read_twice(alice, items):
    client = alice.flight()
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 0)")
    info = client.info("CommandStatementQuery", {1: f"UPDATE {items} SET size = size + 1"})
    assert info.endpoints[0].locations == []
    first, second = (client.read(info.endpoints[0].ticket) for _ in range(2))
    assert first.num_rows == second.num_rows == 0 and first.schema == second.schema == info.schema
    assert alice.rows(f"SELECT size FROM {items}") == [(1,)]


def test_getting_the_flight_info_alone_runs_nothing_twice(alice, items):
    client = alice.flight()
    infos = [client.info("CommandStatementQuery", {1: f"INSERT INTO {items} VALUES ({i}, 'n', 0)"}) for i in range(2)]
    client.read(infos[1].endpoints[0].ticket)
    found = alice.rows(f"SELECT id FROM {items}")
    assert (1,) in found and found.count((1,)) == 1


def test_statement_update_counts(alice, items):
    client = alice.flight()
    assert client.update(f"INSERT INTO {items} VALUES (1, 'one', 0), (2, 'two', 0)") == 2
    assert client.update(f"UPDATE {items} SET size = 1 WHERE id = 1") == 1
    assert client.update(f"DELETE FROM {items} WHERE id = 9") == 0
    assert alice.rows(f"SELECT count(*), sum(size) FROM {items}") == [(2, 1)]


def test_a_prepared_change_as_query(alice, items):
    """What ADBC's execute and older JDBC drivers do."""
    client = alice.flight()
    handle = prepare(client, f"INSERT INTO {items} (id, name) SELECT coalesce(max(id), 0) + 1, 'n' FROM {items}")
    for _ in range(2):
        assert client.fetch("CommandPreparedStatementQuery", {1: handle}).num_rows == 0
    close(client, handle)
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(2,)]


def test_preparing_runs_nothing(alice, items):
    client = alice.flight()
    close(client, prepare(client, f"INSERT INTO {items} VALUES (1, 'one', 0)"))
    assert alice.rows(f"SELECT count(*) FROM {items}") == [(0,)]


def test_prepared_statement_says_what_it_is(alice, items):
    client = alice.flight()
    for sql, update in ((f"DELETE FROM {items}", 1), (f"SELECT * FROM {items}", 0)):
        body = flightsql.command("ActionCreatePreparedStatementRequest", {1: sql})
        [result] = client.action("CreatePreparedStatement", body)
        fields = flightsql.decode(flightsql.decode(result)[2][0])
        assert fields.get(4, [0]) == [update]
