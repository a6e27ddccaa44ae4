"""Statements as PostgreSQL's users write them."""

import pytest


@pytest.fixture
def t(admin, alice, namespace):
    for name in ("t", "u"):
        admin.change(
            f"CREATE USER TABLE {namespace}.{name} (id BIGINT PRIMARY KEY, a BIGINT, b BIGINT DEFAULT 7, s TEXT)"
        )
    alice.change(f"SET schema = {namespace}")
    alice.change("INSERT INTO t VALUES (1, 10, 5, 'x'), (2, 20, 6, 'y'), (3, 30, 7, NULL)")
    return f"{namespace}.t"


def test_common_tables_before_statements_that_write(alice, t):
    assert alice.change("WITH x AS (SELECT 10 AS id, 1 AS a) INSERT INTO t (id, a) SELECT id, a FROM x") == 1
    assert alice.change("WITH x AS (SELECT 10 AS id) UPDATE t SET s = 'new' FROM x WHERE t.id = x.id") == 1
    assert alice.change("WITH x AS (SELECT 10 AS id) UPDATE t SET b = 1 WHERE id IN (SELECT id FROM x)") == 1
    assert alice.rows("SELECT * FROM t WHERE id = 10") == [(10, 1, 1, "new")]
    numbers = "WITH RECURSIVE n AS (SELECT 20 AS v UNION ALL SELECT v + 1 FROM n WHERE v < 23)"
    assert alice.change(f"{numbers} INSERT INTO t (id) SELECT v FROM n") == 4
    assert alice.change("WITH n AS (SELECT id FROM t WHERE id >= 20) DELETE FROM t WHERE id IN (SELECT id FROM n)") == 4
    assert alice.change("WITH x AS (SELECT 10 AS id) DELETE FROM t USING x WHERE t.id = x.id") == 1
    merge = (
        "WITH x AS (SELECT 1 AS id, 99 AS a) MERGE INTO t USING x ON t.id = x.id WHEN MATCHED THEN UPDATE SET a = x.a"
    )
    assert alice.change(merge) == 1
    upsert = "WITH x AS (SELECT 2 AS id, 98 AS a) INSERT INTO t (id, a) SELECT id, a FROM x ON CONFLICT DO UPDATE SET a = excluded.a"
    assert alice.change(upsert) == 1
    assert alice.rows("SELECT id, a FROM t ORDER BY id") == [(1, 99), (2, 98), (3, 30)]
    assert alice.rows("WITH x AS (SELECT 11 AS id) INSERT INTO t (id) SELECT id FROM x RETURNING id, b") == [(11, 7)]
    # The table that is written is none of the common ones.
    assert alice.change("WITH t AS (SELECT 11 AS id) DELETE FROM t USING t AS x WHERE t.id = x.id") == 1
    assert (
        alice.change("WITH x AS (SELECT id FROM t WHERE id = ?) DELETE FROM t WHERE id IN (SELECT id FROM x)", [(3,)])
        == 1
    )


def test_common_tables_take_the_privileges_that_they_need(admin, alice, namespace, refused):
    admin.change(f"CREATE SHARED TABLE {namespace}.secret (id BIGINT PRIMARY KEY) WITH (grants = 'none')")
    admin.change(f"CREATE USER TABLE {namespace}.mine (id BIGINT PRIMARY KEY)")
    with refused("PermissionDenied", "SELECT"):
        alice.change(f"WITH x AS (SELECT id FROM {namespace}.secret) INSERT INTO {namespace}.mine SELECT id FROM x")
    with refused("PermissionDenied", "secret"):
        alice.change(f"WITH x AS (SELECT 1 AS id) DELETE FROM {namespace}.secret USING x WHERE secret.id = x.id")


def test_common_tables_do_not_write(alice, t, refused):
    with refused("Unimplemented", "common table"):
        alice.rows("WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x")
    assert alice.rows("SELECT count(*) FROM t") == [(3,)]


def test_table_and_fetch(alice, t):
    assert alice.rows("TABLE t ORDER BY id DESC LIMIT 1") == [(3, 30, 7, None)]
    assert alice.rows("SELECT count(*) FROM (TABLE t UNION ALL TABLE u) q") == [(3,)]
    assert alice.change("INSERT INTO u TABLE t") == 3
    assert alice.rows("SELECT id FROM u ORDER BY id FETCH FIRST 2 ROWS ONLY") == [(1,), (2,)]
    assert alice.rows("SELECT id FROM u ORDER BY id OFFSET 1 ROW FETCH NEXT ROW ONLY") == [(2,)]
    assert alice.rows("SELECT id FROM u ORDER BY id FETCH FIRST ? ROWS ONLY", [1]) == [(1,)]


def test_default_values(admin, alice, namespace, t, refused):
    admin.change(f"CREATE USER TABLE {namespace}.d (a BIGINT DEFAULT 3, b TEXT DEFAULT 'q', c INT)")
    assert alice.change("INSERT INTO d DEFAULT VALUES") == 1
    assert alice.rows("INSERT INTO d DEFAULT VALUES RETURNING a, b, c") == [(3, "q", None)]
    assert alice.rows("SELECT * FROM d") == [(3, "q", None)] * 2
    with refused("InvalidArgument", '"id"', "NOT NULL"):
        alice.change("INSERT INTO t DEFAULT VALUES")


def test_settings(alice, namespace):
    assert alice.rows("SHOW TIME ZONE") == [("timezone", "UTC")]
    alice.change("SET TIME ZONE 'Europe/Berlin'")
    assert alice.rows("SHOW TIME ZONE") == alice.rows("SHOW timezone") == [("timezone", "Europe/Berlin")]
    alice.change("RESET TIME ZONE")
    assert alice.rows("SHOW TIME ZONE") == [("timezone", "UTC")]
    for sql in (f"SET SCHEMA '{namespace}'", f"SET search_path = {namespace}", f"SET search_path TO '{namespace}'"):
        alice.change("SET schema = public")
        alice.change(sql)
        assert alice.rows("SELECT current_schema, current_schema() AS s") == [(namespace, namespace)]
        assert alice.rows("SHOW search_path") == [("schema", namespace)]


def test_the_version_is_this_products(alice):
    [(version,)] = alice.rows("SELECT version()")
    assert version.startswith("Insula ") and "DataFusion" not in version


def test_system_columns_are_not_stored(admin, alice, namespace, t):
    for login in (admin, alice):
        login.change(f"SET schema = {namespace}")
        login.change("SET insula.show_system_columns = true")
    try:
        assert len(alice.query("SELECT * FROM t").schema) == 7
        assert alice.change("INSERT INTO u SELECT * FROM t") == 3
        assert alice.change("INSERT INTO u SELECT * FROM (SELECT * FROM t) q ON CONFLICT DO NOTHING") == 0
        assert alice.rows("INSERT INTO u SELECT id + 10, a, b, s FROM t WHERE id = 1 RETURNING *") == [(11, 10, 5, "x")]
        assert "_updated" not in str(alice.rows("EXPLAIN INSERT INTO u SELECT * FROM t"))
        admin.change("CREATE TABLE w AS SELECT * FROM t")
        assert alice.query("SELECT * FROM w").schema.names[:4] == ["id", "a", "b", "s"]
        # Who names them gets them.
        admin.change("CREATE TABLE v AS SELECT id, _updated AS at FROM t")
        assert alice.query("SELECT * FROM v").schema.names[:2] == ["id", "at"]
        alice.change("BEGIN")
        assert alice.change("INSERT INTO u SELECT * FROM t ON CONFLICT (id) DO NOTHING") == 0
        alice.change("ROLLBACK")
    finally:
        for login in (admin, alice):
            login.change("RESET ALL")
