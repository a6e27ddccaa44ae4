"""Stream tables: rows of each user that disappear by themselves, with the real driver."""

import pyarrow as pa
import pytest

from conftest import Login, Refusal
from demo import adbc
from demo.server import ADMIN_PASSWORD, Server


@pytest.fixture
def stream(admin, namespace):
    """Makes a stream table of the test's own with these options."""

    def make(options: str, name: str = "s", columns: str = "id BIGINT PRIMARY KEY, note TEXT") -> str:
        admin.change(f"CREATE STREAM TABLE {namespace}.{name} ({columns}) WITH ({options})")
        return f"{namespace}.{name}"

    return make


def ids(user, table: str) -> list[int]:
    return [row[0] for row in user.rows(f"SELECT id FROM {table} ORDER BY id")]


def kind_of_table(admin, table: str) -> str:
    namespace, name = table.split(".")
    [(kind,)] = admin.rows(f"SELECT kind FROM system.tables WHERE namespace = '{namespace}' AND \"table\" = '{name}'")
    return kind


def options_of(admin, table: str) -> str:
    namespace, name = table.split(".")
    where = f"namespace = '{namespace}' AND \"table\" = '{name}'"
    return admin.rows(f"SELECT options FROM system.tables WHERE {where}")[0][0]


def refuses(user, sql: str, code: str, *words: str) -> None:
    with Refusal(code, *words):
        user.change(sql)


def test_each_user_has_rows_of_their_own(stream, alice, bob):
    table = stream("ttl = '1 hour'")
    assert alice.change(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')") == 2
    assert bob.change(f"INSERT INTO {table} VALUES (1, 'bob')") == 1
    assert alice.change(f"UPDATE {table} SET note = 'c' WHERE id = 1") == 1
    assert alice.change(f"DELETE FROM {table} WHERE id = 2") == 1
    assert alice.change(f"REPLACE INTO {table} VALUES (3, 'd')") == 1
    assert alice.rows(f"SELECT * FROM {table} ORDER BY id") == [(1, "c"), (3, "d")]
    assert alice.rows(f"SELECT id FROM {table} WHERE _deleted") == [(2,)]
    [(seq, updated)] = alice.rows(f"SELECT _seq, _updated FROM {table} WHERE id = 3")
    assert seq > 0 and updated.tzinfo is not None
    assert bob.rows(f"SELECT * FROM {table}") == [(1, "bob")]
    assert bob.rows(f"SELECT count(*) FROM {table}") == [(1,)]
    refuses(alice, f"INSERT INTO {table} VALUES (1, 'again')", "AlreadyExists", "duplicate key")


def test_rows_are_gone_when_their_time_is_up(stream, admin, alice, bob):
    table = stream("ttl = '1 day'")
    alice.ingest(table, pa.table({"id": pa.array(range(500), pa.int64()), "note": ["x"] * 500}))
    bob.change(f"INSERT INTO {table} VALUES (1, 'x')")
    by_key = f"SELECT note FROM {table} WHERE id = $1"
    for _ in range(2):
        assert alice.rows(by_key, [7]) == [("x",)]
    assert len(ids(alice, table)) == 500 and ids(alice, table) == list(range(500))
    # The rows are older than this by now: statements lie between.
    admin.change(f"ALTER TABLE {table} SET (ttl = '1ms')")
    assert ids(alice, table) == [] and ids(bob, table) == []
    assert alice.rows(f"SELECT count(*), min(id), max(id) FROM {table}") == [(0, None, None)]
    assert alice.rows(by_key, [7]) == alice.rows(f"SELECT note FROM {table} WHERE id = 7") == []
    assert alice.rows(f"SELECT id FROM {table} WHERE _deleted OR NOT _deleted") == []
    assert alice.change(f"UPDATE {table} SET note = 'y'") == 0
    assert alice.change(f"DELETE FROM {table}") == 0
    # A longer time brings nothing back, and their keys are free.
    admin.change(f"ALTER TABLE {table} SET (ttl = '1 day')")
    assert ids(alice, table) == []
    assert alice.change(f"INSERT INTO {table} VALUES (7, 'new')") == 1
    assert alice.rows(f"SELECT * FROM {table}") == [(7, "new")]


def test_a_user_keeps_the_newest_rows(stream, admin, alice, bob):
    table = stream("max_rows = 3")
    alice.change(f"INSERT INTO {table} VALUES (5, 'a'), (1, 'a'), (9, 'a'), (7, 'a')")
    assert ids(alice, table) == [5, 7, 9], "of one commit, those of the highest keys"
    bob.change(f"INSERT INTO {table} VALUES (2, 'b')")
    alice.change(f"INSERT INTO {table} VALUES (2, 'b')")
    assert ids(alice, table) == [2, 7, 9]
    alice.change(f"UPDATE {table} SET note = 'c' WHERE id = 7")
    alice.change(f"INSERT INTO {table} VALUES (3, 'd')")
    assert ids(alice, table) == [2, 3, 7], "a change makes a row new"
    assert alice.change(f"DELETE FROM {table} WHERE id IN (2, 3)") == 2
    assert ids(alice, table) == [7], "a deletion brings nothing back"
    assert ids(bob, table) == [2]
    admin.change(f"ALTER TABLE {table} SET (max_rows = 1)")
    alice.change(f"INSERT INTO {table} VALUES (4, 'e')")
    assert ids(alice, table) == [4]
    admin.change(f"ALTER TABLE {table} SET (max_rows = 100)")
    assert ids(alice, table) == [4]


def test_without_a_key_rows_are_kept_in_the_order_in_which_they_came(stream, alice):
    table = stream("max_rows = 2", columns="n INT")
    alice.change(f"INSERT INTO {table} VALUES (3), (2), (1)")
    assert sorted(alice.rows(f"SELECT n FROM {table}")) == [(1,), (2,)]


def test_a_transaction_sees_its_own_rows_within_the_bound(stream, alice):
    table = stream("max_rows = 2")
    alice.change(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
    connection = alice.connect()
    connection.adbc_connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (3, 'c')")
        cursor.execute(f"SELECT id FROM {table} ORDER BY id")
        assert cursor.fetchall() == [(2,), (3,)]
        cursor.execute(f"DELETE FROM {table} WHERE id = 3")
        cursor.execute(f"INSERT INTO {table} VALUES (4, 'd')")
        cursor.execute(f"SELECT id FROM {table} ORDER BY id")
        assert cursor.fetchall() == [(2,), (4,)]
    assert ids(alice, table) == [1, 2]
    connection.adbc_connection.commit()
    assert ids(alice, table) == [2, 4]


def test_a_table_made_by_a_query(admin, namespace, alice):
    admin.change(f"CREATE STREAM TABLE {namespace}.made WITH (max_rows = 2) AS SELECT 1 AS id UNION ALL SELECT 2")
    assert kind_of_table(admin, f"{namespace}.made") == "stream"
    assert ids(admin, f"{namespace}.made") == [1, 2] and ids(alice, f"{namespace}.made") == []


def test_kinds_and_options_are_shown(stream, admin, namespace, alice):
    table = stream("max_rows = 10, durability = 'periodic'")
    admin.change(f"CREATE TABLE {namespace}.typed (id INT) WITH (type = 'stream')")
    assert kind_of_table(admin, table) == kind_of_table(admin, f"{namespace}.typed") == "stream"
    assert options_of(admin, table) == "ttl = 'off', max_rows = 10, durability = 'periodic'"
    assert options_of(admin, f"{namespace}.typed") == "ttl = '1h', max_rows = 'off', durability = 'sync'"
    assert (namespace, "s", "stream") in alice.rows("SHOW TABLES")
    assert alice.rows(
        f"SELECT table_type FROM information_schema.tables WHERE table_schema = '{namespace}' AND table_name = 's'"
    ) == [("BASE TABLE",)]
    [(_, _, definition)] = alice.rows(f"SHOW CREATE TABLE {table}")
    assert definition.startswith(f'CREATE STREAM TABLE "{namespace}"."s" (')
    # What is shown makes the same table again.
    admin.change(definition.replace('"s"', '"again"'))
    assert options_of(admin, f"{namespace}.again") == options_of(admin, table)
    assert alice.rows(f"DESCRIBE {namespace}.again") == alice.rows(f"DESCRIBE {table}")


def test_options_that_do_not_fit_are_refused(admin, namespace):
    name = f"{namespace}.x"
    create = f"CREATE STREAM TABLE {name} (id INT) WITH"
    refuses(admin, f"{create} (ttl = 'soon')", "InvalidArgument", "ttl", "'soon'")
    refuses(admin, f"{create} (ttl = '0s')", "InvalidArgument", "ttl")
    for rows in ("0", "-1", "'many'", "1000001"):
        refuses(admin, f"{create} (max_rows = {rows})", "InvalidArgument", "max_rows")
    refuses(admin, f"{create} (ttl = 'off')", "InvalidArgument", "ttl", "max_rows")
    for option in ("flush_rows = 1", "flush_interval = '1s'", "placement = 'file'", "deleted_retention = '1s'"):
        refuses(admin, f"{create} ({option})", "InvalidArgument", option.split()[0], "type, ttl, max_rows, durability")
    refuses(admin, f"{create} (nonsense = 1)", "InvalidArgument", "nonsense", "type, ttl, max_rows, durability")
    for kind in ("USER", "SHARED"):
        for option in ("ttl = '1h'", "max_rows = 1"):
            sql = f"CREATE {kind} TABLE {name} (id INT) WITH ({option})"
            refuses(admin, sql, "InvalidArgument", option.split()[0], "flush_rows")
    refuses(admin, f"CREATE STREAM TABLE {name} (id INT) WITH (type = 'user')", "InvalidArgument", "two kinds")
    assert admin.rows(f"SELECT 1 FROM system.tables WHERE namespace = '{namespace}'") == []


def test_altered_options_are_checked_too(stream, admin):
    table = stream("ttl = '1 hour'")
    refuses(admin, f"ALTER TABLE {table} SET (ttl = 'off')", "InvalidArgument", "max_rows")
    refuses(admin, f"ALTER TABLE {table} SET (flush_rows = 1)", "InvalidArgument", "flush_rows", "max_rows")
    refuses(admin, f"ALTER TABLE {table} SET (type = 'user')", "FailedPrecondition", "kind")
    admin.change(f"ALTER TABLE {table} SET (ttl = 'off', max_rows = 5)")
    assert options_of(admin, table) == "ttl = 'off', max_rows = 5, durability = 'sync'"


def test_flush_and_compact(stream, admin, alice):
    table = stream("max_rows = 2")
    for i in range(5):
        alice.change(f"INSERT INTO {table} VALUES ({i}, 'x')")
    [flushed] = admin.query(f"FLUSH TABLE {table}").to_pylist()
    assert (flushed["rows"], flushed["files"]) == (0, 0)
    assert "s" not in {row["table"] for row in admin.query("FLUSH ALL").to_pylist() if table.startswith(row["namespace"])}
    [report] = admin.query(f"COMPACT TABLE {table}").to_pylist()
    assert (report["removed"], report["files"]) == (3, 0)
    assert ids(alice, table) == [3, 4]
    [job] = [job for job in admin.query("SHOW JOBS").to_pylist() if f"{job['namespace']}.{job['table']}" == table]
    assert (job["job"], job["state"], job["rows"]) == ("purge", "done", 3)
    namespace, name = table.split(".")
    where = f"namespace = '{namespace}' AND \"table\" = '{name}'"
    [stored] = admin.query(f"SELECT * FROM system.storage WHERE {where}").to_pylist()
    assert (stored["hot_rows"], stored["cold_rows"], stored["files"]) == (2, 0, 0)
    assert admin.rows(f"SELECT 1 FROM system.files WHERE {where}") == []


def test_what_is_too_large_for_one_statement_is_refused(stream, alice):
    table = stream("ttl = '1 hour'")
    rows = pa.table({"id": pa.array(range(90_000), pa.int64()), "note": ["x" * 1000] * 90_000})
    with Refusal("ResourceExhausted", "bytes of rows into a stream table"):
        alice.ingest(table, rows.to_reader(max_chunksize=5_000))
    assert ids(alice, table) == []
    # What would be a load elsewhere is not one here.
    assert alice.ingest(table, rows.slice(0, 30_000).to_reader(max_chunksize=5_000)) == 30_000
    assert alice.rows(f"SELECT count(*) FROM {table}") == [(30_000,)]
    assert alice.query("SELECT files FROM system.storage WHERE cold_rows > 0").num_rows == 0


def test_a_service_brings_events_of_many_users(stream, admin, new_user):
    table = stream("max_rows = 2")
    service, ann, ben = new_user(), new_user(), new_user()
    admin.change(f'ALTER USER "{service.name}" ROLE service')
    rows = pa.table(
        {"who": [ann.name, ben.name, ann.name, ann.name], "id": pa.array([1, 1, 2, 3], pa.int64()), "note": ["x"] * 4}
    )
    connection = adbc.connect(service.server.url, service.name, service.password, x_insula_user_column="who")
    assert adbc.ingest(connection, table, rows) == 4
    assert ids(ann, table) == [2, 3] and ids(ben, table) == [1]
    with Refusal("AlreadyExists"):
        adbc.ingest(connection, table, rows.slice(1))
    assert ids(ann, table) == [2, 3] and ids(ben, table) == [1], "all or nothing, for all users together"
    connection.close()


def test_an_erased_user_leaves_nothing(stream, admin, new_user, bob):
    table = stream("ttl = '1 hour'")
    ann = new_user()
    ann.change(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
    bob.change(f"INSERT INTO {table} VALUES (1, 'b')")
    ann.close()
    [report] = admin.query(f'DROP USER "{ann.name}" ERASE').to_pylist()
    assert (report["tables"], report["rows"], report["files"]) == (1, 2, 0)
    assert ids(bob, table) == [1]


def test_rows_survive_a_kill(tmp_path):
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE STREAM TABLE s (id BIGINT PRIMARY KEY) WITH (max_rows = 2, ttl = '1 day')")
        admin.change("INSERT INTO s VALUES (1), (2), (3)")
        server.kill()
        server.start()
        admin.close()
        assert ids(admin, "s") == [2, 3]
        admin.close()
