"""The tables of `system` and `information_schema`: who sees what, and that nobody sees what is another user's."""

import secrets
import uuid

import pytest

from conftest import quoted
from demo import adbc


def listed(login) -> list[tuple[str, str]]:
    """All system tables, as a tool would find them."""
    return login.rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SYSTEM VIEW' ORDER BY 1, 2"
    )


@pytest.fixture
def neighbours(new_user, items):
    """Two users with rows in the same table, hot and cold; everything of Bob's is a canary."""
    canary = "canary" + secrets.token_hex(8)
    alice, bob = new_user(), new_user(f"bob-{canary}")
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'a'), (2, 'b')")
    for start in (1000, 2000):
        rows = ", ".join(f"({start + n}, '{canary}')" for n in range(77))
        bob.change(f"INSERT INTO {items} (id, name) VALUES {rows}")
        if start == 1000:
            alice.change(f"FLUSH TABLE {items}")
    alice.change(f"INSERT INTO {items} (id, name) VALUES (3, 'c')")
    bob.rows(f"SELECT name FROM {items} WHERE name = '{canary}'")
    with pytest.raises(Exception, match="NOT_FOUND|NotFound"):
        bob.rows(f"SELECT '{canary}' FROM {items}x")
    return alice, bob, canary


def test_no_table_of_the_server_tells_a_user_of_another(neighbours, items):
    alice, bob, canary = neighbours
    tables = listed(alice)
    assert len(tables) >= 19, tables
    for namespace, table in tables:
        seen = alice.query(f"SELECT * FROM {namespace}.{table}").to_pylist()
        text = repr(seen)
        assert canary not in text, f"{namespace}.{table} tells of another user"
        # Counts that are Bob's, or of both together; those of the audit are what Alice's own statements returned.
        for row in seen if table != "audit" else []:
            counts = {value for column, value in row.items() if column.endswith("rows")}
            assert not counts & {77, 154, 79, 157, 80}, f"{namespace}.{table} counts another user's rows: {row}"


def test_an_admin_sees_metadata_and_never_texts_or_rows(neighbours, admin, items):
    _, bob, canary = neighbours
    for namespace, table in listed(admin):
        for row in admin.query(f"SELECT * FROM {namespace}.{table}").to_pylist():
            told = repr(row).replace(bob.name, "")  # Names of users are metadata.
            assert canary not in told, f"{namespace}.{table} shows an admin a row or a text: {row}"
    own = admin.rows(f"SELECT \"user\", text, text_hash FROM system.audit WHERE \"user\" = '{bob.name}'")
    assert own and all(text is None for _, text, _ in own) and any(hash for _, _, hash in own)


def test_every_table_can_be_filtered_joined_and_limited(alice):
    for namespace, table in listed(alice):
        assert alice.rows(f"SELECT count(*) FROM {namespace}.{table} WHERE 1 = 0") == [(0,)]
        assert len(alice.rows(f"SELECT * FROM {namespace}.{table} LIMIT 1")) <= 1
    joined = alice.rows(
        "SELECT count(*) FROM information_schema.columns c JOIN system.columns s ON c.table_schema = s.namespace "
        "AND c.table_name = s.\"table\" AND c.column_name = s.\"column\" AND c.ordinal_position = s.position"
    )
    assert joined == alice.rows("SELECT count(*) FROM system.columns")


def test_what_is_defined_is_listed_alike_everywhere(alice, admin, namespace):
    admin.change(f"CREATE TABLE {namespace}.keyed (note TEXT, b INT, a BIGINT DEFAULT 7, PRIMARY KEY (a, b))")
    admin.change(f"CREATE SHARED TABLE {namespace}.plain (x DECIMAL(10, 2) NOT NULL) WITH (flush_rows = 10)")
    where = f"WHERE namespace = '{namespace}' ORDER BY 1, 2"
    assert alice.rows(f'SELECT "table", kind, key, columns FROM system.tables {where}') == [
        ("keyed", "user", "a, b", 3),
        ("plain", "shared", None, 1),
    ]
    assert alice.rows(f"SELECT namespace, tables FROM system.namespaces {where}") == [(namespace, 2)]
    [(options,)] = alice.rows(f"SELECT options FROM system.tables WHERE namespace = '{namespace}' AND kind = 'shared'")
    assert "flush_rows = 10," in options
    columns = f'SELECT "column", position, nullable, "default", key_position FROM system.columns {where}'
    assert alice.rows(columns.replace("ORDER BY 1, 2", "AND \"table\" = 'keyed' ORDER BY position")) == [
        ("note", 1, True, None, None),
        ("b", 2, False, None, 2),
        ("a", 3, False, "7", 1),
    ]
    standard = f"WHERE table_schema = '{namespace}'"
    assert alice.rows(f"SELECT table_name, table_type FROM information_schema.tables {standard} ORDER BY 1") == [
        ("keyed", "BASE TABLE"),
        ("plain", "BASE TABLE"),
    ]
    assert alice.rows(
        f"SELECT data_type, numeric_precision, numeric_scale, is_nullable FROM information_schema.columns {standard} "
        "AND table_name = 'plain'"
    ) == [("DECIMAL", 10, 2, "NO")]
    assert alice.rows(
        f"SELECT constraint_name, constraint_type FROM information_schema.table_constraints {standard}"
    ) == [("keyed_pkey", "PRIMARY KEY")]
    assert alice.rows(
        f"SELECT column_name, ordinal_position FROM information_schema.key_column_usage {standard} ORDER BY 2"
    ) == [("a", 1), ("b", 2)]
    [objects] = alice.connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    by_driver = {
        (schema["db_schema_name"], table["table_name"])
        for schema in objects["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    }
    by_sql = set(alice.rows("SELECT table_schema, table_name FROM information_schema.tables"))
    mine = {namespace, "system", "information_schema"}
    assert {t for t in by_driver if t[0] in mine} == {t for t in by_sql if t[0] in mine}


def test_who_changed_a_table_is_told_to_admins(alice, admin, items):
    admin.change(f"ALTER TABLE {items} ADD COLUMN extra INT")
    namespace = items.split(".")[0]
    history = f"SELECT version, \"by\" FROM system.table_history WHERE namespace = '{namespace}' ORDER BY version"
    assert alice.rows(history) == [(1, None), (2, None)]
    assert admin.rows(history) == [(1, "admin"), (2, "admin")]


def test_storage_is_a_users_own_and_an_admins_sum(neighbours, admin, items):
    alice, bob, _ = neighbours
    namespace = items.split(".")[0]
    storage = f'SELECT "user", hot_rows, cold_rows, files FROM system.storage WHERE namespace = \'{namespace}\''
    assert alice.rows(storage) == [(alice.name, 1, 2, 1)]
    assert bob.rows(storage) == [(bob.name, 77, 77, 1)]
    assert admin.rows(storage) == [(None, 78, 79, 1)]
    files = f"SELECT path, rows, bytes FROM system.files WHERE namespace = '{namespace}'"
    assert alice.rows(files) == [(None, 2, None)]
    [(path, rows, size)] = admin.rows(files)
    assert path.endswith(".parquet") and rows == 79 and size > 0
    assert alice.rows("SELECT count(*) FROM system.jobs") == [(0,)]
    assert admin.rows("SELECT count(*) FROM system.jobs WHERE job = 'flush'")[0][0] > 0


def test_users_and_grants(alice, bob, admin, namespace):
    admin.change(f"CREATE SHARED TABLE {namespace}.hidden (id INT PRIMARY KEY) WITH (grants = 'none')")
    admin.change(f"GRANT INSERT ON {namespace}.hidden TO {quoted(bob.name)}")
    assert alice.rows('SELECT "user", role, has_password FROM system.users') == [(alice.name, "user", True)]
    everybody = dict(admin.rows('SELECT "user", role FROM system.users'))
    assert everybody["admin"] == "admin" and everybody[bob.name] == "user"
    grants = f"SELECT privilege, grantee FROM system.grants WHERE namespace = '{namespace}'"
    assert bob.rows(grants) == [("INSERT", bob.name)] == admin.rows(grants)
    assert alice.rows(grants) == []
    for listing in ["system.tables", "system.columns", "system.table_history"]:
        seen = f"SELECT count(*) FROM {listing} WHERE namespace = '{namespace}'"
        assert alice.rows(seen) == [(0,)] and bob.rows(seen) == [(1,)], f"{listing} shows a hidden table"
    for listing in ["tables", "columns", "table_constraints", "key_column_usage"]:
        assert alice.rows(f"SELECT * FROM information_schema.{listing} WHERE table_schema = '{namespace}'") == []
    assert alice.rows(f"SELECT tables FROM system.namespaces WHERE namespace = '{namespace}'") == [(0,)]


def test_sessions_and_settings(alice, bob, admin):
    bob.rows("SELECT 1")
    assert {user for (user,) in alice.rows('SELECT "user" FROM system.sessions')} == {alice.name}
    assert {alice.name, bob.name} <= {user for (user,) in admin.rows('SELECT "user" FROM system.sessions')}
    alice.change("SET timezone = 'Europe/Berlin'")
    assert ("timezone", "Europe/Berlin", "session") in alice.rows("SELECT * FROM system.settings")
    assert alice.rows("SELECT count(*) FROM system.settings WHERE \"of\" = 'server'") == [(0,)]
    server = dict(admin.rows("SELECT name, value FROM system.settings WHERE \"of\" = 'server'"))
    assert server["statement_timeout"] == "10m" and "data_dir" in server


def test_a_repeated_text_shows_the_settings_of_its_own_session(alice):
    first, second = alice.connect(), alice.connect()
    text = "SELECT value FROM system.settings WHERE name = 'timezone'"

    def ask(connection):
        with connection.cursor() as cursor:
            return cursor.execute(text).fetchall()

    with first.cursor() as cursor:
        cursor.execute("SET timezone = 'Asia/Tokyo'")
    assert ask(first) == [("Asia/Tokyo",)]
    assert ask(second) == [("UTC",)]
    with first.cursor() as cursor:
        cursor.execute("SET timezone = 'America/Lima'")
    assert ask(first) == [("America/Lima",)], "the answer is not a remembered one"


def test_the_audit_has_what_was_done_with_its_result(alice, admin, items):
    mark = uuid.uuid4().hex
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, '{mark}'), (2, 'x')")
    alice.rows(f"SELECT '{mark}', * FROM {items} WHERE id >= 0")
    with pytest.raises(Exception, match="ALREADY_EXISTS|AlreadyExists"):
        alice.change(f"INSERT INTO {items} (id, name) VALUES (1, '{mark}')")
    seen = alice.rows(
        f"SELECT statement, tables, rows, result FROM system.audit WHERE text LIKE '%{mark}%' ORDER BY at, result"
    )
    assert seen == [
        ("INSERT", items, 2, "OK"),
        ("SELECT", items, 2, "OK"),
        ("INSERT", items, 0, "ALREADY_EXISTS"),
    ]
    assert admin.rows(f"SELECT * FROM system.audit WHERE text LIKE '%{mark}%' AND \"user\" <> 'admin'") == []
    [(run, size)] = alice.rows(
        f"SELECT run_micros, bytes FROM system.audit WHERE text LIKE '%{mark}%' AND statement = 'SELECT' AND rows = 2"
    )
    assert run > 0 and size > 2 * 32


def test_logins_and_refusals_are_in_the_audit(server, alice, admin, new_user):
    alice.rows("SELECT 1")
    assert alice.rows("SELECT count(*) FROM system.audit WHERE event = 'login' AND method = 'password'")[0][0] > 0
    with pytest.raises(Exception, match="[Uu]nauthenticated|UNAUTHENTICATED"):
        adbc.query(adbc.connect(server.url, alice.name, "wrong"), "SELECT 1")
    refused = "SELECT method, result FROM system.audit WHERE event = 'refusal'"
    assert ("password", "UNAUTHENTICATED") in alice.rows(refused)
    with pytest.raises(Exception, match="[Uu]nauthenticated|UNAUTHENTICATED"):
        adbc.query(adbc.connect(server.url, f"nobody {alice.name}", "wrong"), "SELECT 1")
    assert admin.rows(f"SELECT result FROM system.audit WHERE \"user\" = 'nobody {alice.name}'")
    assert not alice.rows(f"SELECT result FROM system.audit WHERE \"user\" = 'nobody {alice.name}'")


def test_who_runs_as_another_is_named_beside_them(server, alice, bob, admin):
    admin.change(f"ALTER USER {quoted(bob.name)} ROLE service")
    mark = uuid.uuid4().hex
    as_alice = adbc.connect(server.url, bob.name, bob.password, x_insula_run_as=alice.name)
    assert adbc.scalar(as_alice, f"SELECT CURRENT_USER -- {mark}") == alice.name
    as_alice.close()
    entry = "SELECT \"user\", actor, text LIKE '%{0}%' FROM system.audit WHERE text_hash IN ({1}) AND statement = 'SELECT'"
    hashes = f"SELECT text_hash FROM system.audit WHERE text LIKE '%{mark}%' AND actor IS NOT NULL"
    assert set(alice.rows(entry.format(mark, hashes))) == {(alice.name, bob.name, True)}
    assert bob.rows(f"SELECT text FROM system.audit WHERE \"user\" = '{alice.name}' AND actor = '{bob.name}'")[0] == (None,)
    assert bob.rows("SELECT count(*) FROM system.audit WHERE event = 'run_as'")[0][0] > 0


def test_tables_of_the_server_are_described(alice):
    described = alice.rows("DESCRIBE system.sessions")
    assert described[0] == ("user", "Utf8", False, None, None) and len(described) == 4
    assert alice.rows("SHOW COLUMNS FROM insula.system.sessions") == described
    with pytest.raises(Exception, match="sessions"):
        alice.rows("DESCRIBE system.session")


def test_misspelt_names_get_the_nearest(alice, refused):
    with refused("NotFound", "system.queries"):
        alice.rows("SELECT * FROM system.querys")
    with refused("NotFound", "information_schema.tables"):
        alice.rows("SELECT * FROM information_schema.table")
    with pytest.raises(Exception):
        alice.change("INSERT INTO system.queries VALUES (1)")
