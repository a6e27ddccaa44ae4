"""DDL and DML run exactly once on every way a client can send them."""

from demo import flightsql
from test_tickets import close, prepare


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
