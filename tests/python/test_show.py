"""SHOW and DESCRIBE: they tell what was asked for, and nothing beside it."""

import pytest


@pytest.fixture
def tables(admin, namespace):
    for name in ("apples", "apricots", '"Avocado"', "pears"):
        admin.change(f"CREATE TABLE {namespace}.{name} (id BIGINT PRIMARY KEY, size INT, sizes TEXT, note TEXT)")
    return namespace


def names(login, sql: str, column: int = 1) -> list[str]:
    return sorted(row[column] for row in login.rows(sql))


def test_tables_of_a_namespace(alice, tables):
    every = ["Avocado", "apples", "apricots", "pears"]
    assert names(alice, f"SHOW TABLES FROM {tables}") == every
    assert names(alice, f"SHOW TABLES IN insula.{tables.upper()}") == every
    assert names(alice, f"SHOW TABLES FROM {tables} LIKE 'ap%'") == ["apples", "apricots"]
    assert names(alice, f"SHOW TABLES IN {tables} ILIKE 'A%'") == ["Avocado", "apples", "apricots"]
    assert names(alice, f"SHOW TABLES FROM {tables} LIKE 'nothing'") == []
    assert set(names(alice, "SHOW TABLES LIKE 'apricot_'")) == {"apricots"}
    assert "queries" in names(alice, "SHOW TABLES FROM system")


def test_columns_by_name(alice, tables):
    assert names(alice, f"SHOW COLUMNS FROM {tables}.apples", 0) == ["id", "note", "size", "sizes"]
    assert names(alice, f"SHOW COLUMNS FROM {tables}.apples LIKE 'size%'", 0) == ["size", "sizes"]
    assert names(alice, "SHOW COLUMNS FROM system.queries LIKE 'tab%'", 0) == ["tables"]


def test_namespaces_by_name(alice, tables):
    assert names(alice, f"SHOW NAMESPACES LIKE '{tables}'", 0) == [tables]
    assert names(alice, f"SHOW SCHEMAS LIKE '{tables}'", 0) == [tables]
    assert tables in names(alice, "SHOW NAMESPACES", 0)


def test_describe_with_and_without_the_word_table(alice, tables):
    described = alice.rows(f"DESCRIBE {tables}.apples")
    assert [row[0] for row in described] == ["id", "size", "sizes", "note"]
    assert alice.rows(f"DESCRIBE TABLE {tables}.apples") == described
    assert alice.rows(f"DESC TABLE {tables}.apples") == described


def test_a_table_that_is_not_granted_is_not_shown(admin, alice, namespace):
    admin.change(f"CREATE SHARED TABLE {namespace}.hidden (id INT PRIMARY KEY) WITH (grants = 'none')")
    assert names(alice, f"SHOW TABLES FROM {namespace}") == []
    assert names(admin, f"SHOW TABLES FROM {namespace} LIKE 'hid%'") == ["hidden"]


def test_a_table_is_made_again_for_those_who_may_read_it(admin, alice, namespace, refused):
    def make(name: str, options: str = "") -> str:
        admin.change(f"CREATE SHARED TABLE {namespace}.{name} (id INT PRIMARY KEY) {options}")
        return f"{namespace}.{name}"

    def definition(table: str) -> str:
        return admin.rows(f"SHOW CREATE TABLE {table}")[0][2]

    hidden, open_to_all = make("hidden", "WITH (grants = 'none')"), make("open_to_all")
    assert "grants" not in definition(open_to_all)
    again = definition(hidden)
    admin.change(f"DROP TABLE {hidden}")
    admin.change(again)
    with refused("PermissionDenied"):
        alice.rows(f"SELECT * FROM {hidden}")
    admin.change(f"GRANT SELECT ON {hidden} TO ROLE user")
    assert "grants" not in definition(hidden)
    admin.change(f"REVOKE SELECT ON {open_to_all} FROM ROLE user")
    assert "grants = 'none'" in definition(open_to_all)


def test_a_column_of_nothing_is_made_as_text(admin, namespace):
    admin.change(f"CREATE TABLE {namespace}.made AS SELECT 1 AS id, NULL AS note")
    assert admin.rows(f"SHOW COLUMNS FROM {namespace}.made")[1][:2] == ("note", "Utf8")
    admin.change(f"INSERT INTO {namespace}.made VALUES (2, 'text')")
    assert admin.rows(f"SELECT * FROM {namespace}.made ORDER BY id") == [(1, None), (2, "text")]
