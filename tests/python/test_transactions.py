"""Transactions through ADBC with autocommit off, by SQL in one bearer session, and by Flight SQL's actions."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import dbapi

from demo import adbc, flightsql
from demo.server import Server
from test_tickets import prepare

COMMIT, ROLLBACK = 1, 2
RELEASE, BACK = 1, 2
# What pyarrow makes of NOT_FOUND and ABORTED.
REFUSED = (flight.FlightError, pa.ArrowException)


@pytest.fixture
def manual(alice):
    """ADBC as the DB-API has it: a transaction is always open."""
    connection = dbapi.connect(alice.server.url, {"username": alice.name, "password": alice.password})
    yield connection
    connection.close()


def count(login, table: str) -> int:
    return login.rows(f"SELECT count(*) FROM {table}")[0][0]


def begin(client: flightsql.Client) -> bytes:
    [result] = client.action("BeginTransaction", flightsql.command("ActionBeginTransactionRequest"))
    return flightsql.decode(flightsql.decode(result)[2][0])[1][0]


def end(client: flightsql.Client, transaction: bytes, action: int) -> None:
    client.action("EndTransaction", flightsql.command("ActionEndTransactionRequest", {1: transaction, 2: action}))


def savepoint(client: flightsql.Client, transaction: bytes, name: str) -> bytes:
    body = flightsql.command("ActionBeginSavepointRequest", {1: transaction, 2: name})
    [result] = client.action("BeginSavepoint", body)
    return flightsql.decode(flightsql.decode(result)[2][0])[1][0]


def end_savepoint(client: flightsql.Client, savepoint: bytes, action: int) -> None:
    client.action("EndSavepoint", flightsql.command("ActionEndSavepointRequest", {1: savepoint, 2: action}))


def update(client: flightsql.Client, sql: str, transaction: bytes) -> int:
    reply = client.put(flightsql.command("CommandStatementUpdate", {1: sql, 2: transaction}), pa.schema([]))
    return flightsql.decode(reply or b"").get(1, [0])[0]


# ADBC


def test_commit(manual, alice, items):
    with manual.cursor() as cursor:
        cursor.execute(f"INSERT INTO {items} VALUES (1, 'one', 1)")
        cursor.executemany(f"INSERT INTO {items} VALUES (?, 'many', ?)", [(2, 2), (3, 3)])
        assert cursor.execute(f"SELECT count(*) FROM {items}").fetchone() == (3,)
    assert count(alice, items) == 0
    manual.commit()
    assert count(alice, items) == 3


def test_rollback(manual, alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    with manual.cursor() as cursor:
        cursor.execute(f"UPDATE {items} SET size = 2")
        cursor.execute(f"DELETE FROM {items} WHERE size = 2")
        assert cursor.execute(f"SELECT * FROM {items}").fetchall() == []
        manual.rollback()
        assert cursor.execute(f"SELECT size FROM {items}").fetchall() == [(1,)]


def test_nothing_is_lost_between_execute_and_commit(manual, alice, items):
    # The driver fetches in the background: without care the commit overtakes the statement.
    for i in range(50):
        with manual.cursor() as cursor:
            cursor.execute(f"INSERT INTO {items} VALUES ({i}, 'n', 0)")
        manual.commit()
    assert count(alice, items) == 50


def test_the_same_prepared_statement_in_the_next_transaction(manual, alice, items):
    with manual.cursor() as cursor:
        for i in range(3):
            cursor.execute(f"INSERT INTO {items} VALUES (?, 'n', 0)", (i,))
            manual.commit()
        cursor.execute(f"INSERT INTO {items} VALUES (?, 'n', 0)", (9,))
        manual.rollback()
        for _ in range(2):
            assert cursor.execute(f"SELECT count(*) FROM {items}").fetchone() == (3,)
            manual.commit()
    assert count(alice, items) == 3


def test_a_conflict_is_an_error_of_its_own_code(manual, alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    with manual.cursor() as cursor:
        cursor.execute(f"UPDATE {items} SET size = size + 1")
    alice.change(f"UPDATE {items} SET size = size + 10")
    # The driver forgets the transaction before it knows; the connection is of no use from here on.
    with pytest.raises(dbapi.Error) as failure:
        manual.commit()
    assert adbc.code(failure.value) == "Aborted" and items in str(failure.value)
    assert alice.rows(f"SELECT size FROM {items}") == [(11,)]


def test_a_conflict_by_actions_can_be_rolled_back(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    client = alice.flight()
    transaction = begin(client)
    update(client, f"UPDATE {items} SET size = size + 1", transaction)
    alice.change(f"UPDATE {items} SET size = size + 10")
    for _ in range(2):
        with pytest.raises(REFUSED, match="conflict"):
            end(client, transaction, COMMIT)
    end(client, transaction, ROLLBACK)
    assert alice.rows(f"SELECT size FROM {items}") == [(11,)]


def test_a_failed_statement_leaves_the_rest(manual, alice, items):
    with manual.cursor() as cursor:
        cursor.execute(f"INSERT INTO {items} VALUES (1, 'one', 1)")
        with pytest.raises(dbapi.Error) as failure:
            cursor.execute(f"INSERT INTO {items} VALUES (2, 'two', 2), (1, 'uno', 1)")
        assert adbc.code(failure.value) == "AlreadyExists"
    manual.commit()
    assert alice.rows(f"SELECT id FROM {items}") == [(1,)]


def test_ingest(alice, items):
    # ADBC's driver leaves the transaction out of an ingest, so this one is sent by hand.
    data = pa.table({"id": pa.array(range(1000), pa.int64()), "name": ["n"] * 1000})
    namespace, name = items.split(".")
    append = flightsql.encode({1: 2, 2: 2})
    client = alice.flight()
    for action, stored in ((ROLLBACK, 0), (COMMIT, 1000)):
        transaction = begin(client)
        body = flightsql.command("CommandStatementIngest", {1: append, 2: name, 3: namespace, 6: transaction})
        assert flightsql.decode(client.put(body, data.schema, data.to_batches()))[1] == [1000]
        found = client.fetch("CommandStatementQuery", {1: f"SELECT count(*) FROM {items}", 2: transaction})
        assert found.column(0).to_pylist() == [1000] and count(alice, items) == 0
        end(client, transaction, action)
        assert count(alice, items) == stored


def test_definitions_and_rows_in_one_go(server, admin, namespace):
    # Nobody who leaves autocommit off, as the DB-API has it by default, must do without CREATE TABLE.
    with dbapi.connect(server.url, {"username": "admin", "password": admin.password}) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {namespace}.t (id INT PRIMARY KEY)")
            cursor.adbc_ingest("made", pa.table({"x": [1, 2]}), mode="create", db_schema_name=namespace)
            cursor.execute(f"INSERT INTO {namespace}.t SELECT x FROM {namespace}.made")
            with pytest.raises(dbapi.Error) as failure:
                cursor.execute(f"DROP TABLE {namespace}.made")
            assert adbc.code(failure.value) == "FailedPrecondition"
            connection.commit()
            cursor.execute(f"DROP TABLE {namespace}.made")
    assert admin.rows(f"SELECT count(*) FROM {namespace}.t") == [(2,)]


def test_turning_autocommit_on_again_commits(manual, alice, items):
    with manual.cursor() as cursor:
        cursor.execute(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    manual.adbc_connection.set_autocommit(True)
    assert count(alice, items) == 1


# SQL in a bearer session


def test_sql_in_one_session(alice, items):
    client, other = alice.flight(), alice.flight()
    for sql in ("BEGIN", f"INSERT INTO {items} VALUES (1, 'one', 1)", "SAVEPOINT a"):
        client.update(sql)
    client.update(f"DELETE FROM {items}")
    assert client.query(f"SELECT * FROM {items}").num_rows == 0
    client.update("ROLLBACK TO SAVEPOINT a")
    assert client.query(f"SELECT * FROM {items}").num_rows == 1
    assert other.query(f"SELECT * FROM {items}").num_rows == 0
    client.update("COMMIT")
    assert other.query(f"SELECT * FROM {items}").num_rows == 1


def test_sql_that_is_sent_as_a_query(alice, items):
    client = alice.flight()
    client.query("BEGIN")
    # Prepared before, run within.
    handle = prepare(client, f"INSERT INTO {items} VALUES (1, 'one', 1)")
    client.fetch("CommandPreparedStatementQuery", {1: handle})
    client.query("ROLLBACK")
    assert count(alice, items) == 0
    client.fetch("CommandPreparedStatementQuery", {1: handle})
    assert count(alice, items) == 1


def test_adbc_sends_begin_and_commit_itself(alice, items):
    with alice.connection.cursor() as cursor:
        for sql in ("BEGIN", f"INSERT INTO {items} VALUES (1, 'one', 1)", "ROLLBACK"):
            cursor.execute(sql)
        for sql in ("BEGIN", f"INSERT INTO {items} VALUES (2, 'two', 2)", "COMMIT"):
            cursor.execute(sql)
    assert alice.rows(f"SELECT id FROM {items}") == [(2,)]


# Actions


def test_actions_and_savepoints(alice, items):
    client = alice.flight()
    first, second = begin(client), begin(client)
    assert update(client, f"INSERT INTO {items} VALUES (1, 'one', 1)", first) == 1
    mark = savepoint(client, first, "mark")
    update(client, f"INSERT INTO {items} VALUES (2, 'two', 2)", first)
    update(client, f"INSERT INTO {items} VALUES (3, 'three', 3)", second)
    inner = savepoint(client, first, "inner")
    end_savepoint(client, mark, BACK)
    with pytest.raises(REFUSED, match="savepoint"):
        end_savepoint(client, inner, RELEASE)
    end_savepoint(client, mark, RELEASE)
    fetched = client.fetch("CommandStatementQuery", {1: f"SELECT id FROM {items}", 2: first})
    assert fetched.column(0).to_pylist() == [1]
    end(client, first, COMMIT)
    end(client, second, ROLLBACK)
    assert alice.rows(f"SELECT id FROM {items}") == [(1,)]
    with pytest.raises(REFUSED, match="ended"):
        update(client, f"DELETE FROM {items}", first)


def test_another_users_transaction(alice, bob, items):
    client, thief = alice.flight(), bob.flight()
    transaction = begin(client)
    update(client, f"INSERT INTO {items} VALUES (1, 'secret', 1)", transaction)
    mark = savepoint(client, transaction, "mark")
    attempts = [
        lambda: update(thief, f"DELETE FROM {items}", transaction),
        lambda: thief.fetch("CommandStatementQuery", {1: f"SELECT * FROM {items}", 2: transaction}),
        lambda: thief.action(
            "CreatePreparedStatement",
            flightsql.command("ActionCreatePreparedStatementRequest", {1: "SELECT 1", 2: transaction}),
        ),
        lambda: savepoint(thief, transaction, "x"),
        lambda: end_savepoint(thief, mark, BACK),
        lambda: end(thief, transaction, COMMIT),
        lambda: end(thief, transaction, ROLLBACK),
    ]
    for attempt in attempts:
        with pytest.raises(flight.FlightUnauthorizedError) as failure:
            attempt()
        assert "secret" not in str(failure.value)
    # Another login of the same user may.
    end(alice.flight(), transaction, COMMIT)
    assert alice.rows(f"SELECT name FROM {items}") == [("secret",)]


@pytest.mark.parametrize("rubbish", [b"x", b"x" * 80])
def test_a_transaction_id_that_nobody_issued(alice, rubbish):
    # NOT_FOUND, as pyarrow has it.
    with pytest.raises(KeyError):
        update(alice.flight(), "SELECT 1", rubbish)


def test_close_session_ends_what_is_open(alice, items):
    client = alice.flight()
    transaction = begin(client)
    update(client, f"INSERT INTO {items} VALUES (1, 'one', 1)", transaction)
    client.action("CloseSession", b"")
    with pytest.raises(REFUSED):
        end(alice.flight(), transaction, COMMIT)
    assert count(alice, items) == 0


def test_a_transaction_ends_by_its_timeout(tmp_path):
    with Server(tmp_path / "data", "--dev", "--transaction-timeout", "1ms") as server:
        admin = adbc.connect_dev(server.url, "admin")
        adbc.change(admin, "CREATE TABLE t (id INT PRIMARY KEY)")
        with dbapi.connect(server.url, {adbc.HEADER + "x-insula-user": "admin"}) as connection:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(dbapi.Error) as failure:
                    while True:
                        cursor.execute("SELECT 1").fetchall()
                assert adbc.code(failure.value) == "Aborted" and "idle" in str(failure.value)
            connection.rollback()
            assert adbc.scalar(connection, "SELECT count(*) FROM t") == 0
            connection.rollback()
        admin.close()


def test_a_kill_leaves_nothing_of_an_open_transaction(tmp_path):
    with Server(tmp_path / "data", "--dev") as server:
        client = flightsql.Client(server.url, "admin", "")
        client.update("CREATE TABLE t (id INT PRIMARY KEY)")
        client.update("INSERT INTO t VALUES (1)")
        transaction = begin(client)
        assert update(client, "INSERT INTO t VALUES (2)", transaction) == 1
        assert update(client, "DELETE FROM t WHERE id = 1", transaction) == 1
        server.kill()
        client.close()
        server.start()
        with adbc.connect_dev(server.url, "admin") as admin:
            assert adbc.scalar(admin, "SELECT max(id) FROM t") == 1
            assert adbc.scalar(admin, "SELECT count(*) FROM t WHERE _deleted OR NOT _deleted") == 1


def test_the_audit_names_what_calls_do_to_transactions(alice, items):
    with alice.flight() as client:
        transaction = begin(client)
        update(client, f"INSERT INTO {items} (id, name) VALUES (1, 'a')", transaction)
        end_savepoint(client, savepoint(client, transaction, "here"), ROLLBACK)
        end(client, transaction, COMMIT)
        end(client, begin(client), ROLLBACK)
        with pytest.raises(KeyError):
            end(client, transaction, COMMIT)
    alice.change("BEGIN")
    alice.change("COMMIT")
    told = "SELECT statement, result FROM system.audit WHERE statement NOT IN ('SELECT', 'SET') AND event = 'statement' ORDER BY at"
    calls = ["BEGIN", "INSERT", "SAVEPOINT", "SAVEPOINT", "COMMIT", "BEGIN", "ROLLBACK"]
    assert alice.rows(told) == [(call, "OK") for call in [*calls, "BEGIN", "COMMIT"]]
