"""Bad input: the code of the contract, a message that names the thing, and a server that goes on."""

import pytest

CASES = {
    "SELEC 1": ("InvalidArgument", "SELEC"),
    " ; -- nothing": ("InvalidArgument", "empty"),
    "SELECT 1; SELECT 2": ("InvalidArgument",),
    "SELECT nam FROM {t}": ("InvalidArgument", "nam", "name"),
    "SELECT * FROM {ns}.itemz": ("NotFound", "itemz"),
    "SELECT * FROM nowhere.items": ("NotFound", "nowhere"),
    "SELECT no_such_function(1)": ("InvalidArgument", "no_such_function"),
    "SELECT 1 / 0": ("InvalidArgument",),
    "SELECT 1.5 / 0": ("InvalidArgument", "division by zero"),
    "UPDATE {t} SET name = CAST(1.5 % (id - id) AS TEXT)": ("InvalidArgument", "division by zero"),
    "DELETE FROM {t} WHERE name SIMILAR TO 'a['": ("InvalidArgument", "SIMILAR TO"),
    "SELECT CAST('x' AS INT)": ("InvalidArgument",),
    "SELECT id FROM {t} WHERE name + 1 > DATE '2013-01-01'": ("InvalidArgument",),
    "INSERT INTO {t} VALUES (1)": ("InvalidArgument",),
    "INSERT INTO {t} VALUES ('x', 'y', 1)": ("InvalidArgument",),
    "INSERT INTO {t} VALUES (3, 'big', 3000000000)": ("InvalidArgument",),
    "INSERT INTO {t} (id, nam) VALUES (1, 'x')": ("InvalidArgument", "nam"),
    "UPDATE {t} SET nam = 'x'": ("InvalidArgument", "nam"),
    "UPDATE {ns}.itemz SET name = 'x'": ("NotFound", "itemz"),
    "DELETE FROM {t} WHERE nam = 'x'": ("InvalidArgument", "nam"),
    "DELETE FROM {t} WHERE id / 0 = 1": ("InvalidArgument",),
    "CREATE TABLE {ns}.t (id INT) WITH (flush_rowz = 3)": ("InvalidArgument", "flush_rowz", "flush_rows"),
    "CREATE TABLE {ns}.t (id INT) WITH (flush_rows = 'many')": ("InvalidArgument", "flush_rows"),
    "CREATE TABLE {ns}.t (id INT, id INT)": ("InvalidArgument", "id"),
    "CREATE TABLE {ns}.t (id INT, PRIMARY KEY (idd))": ("InvalidArgument", "idd"),
    "CREATE TABLE {ns}.t (id INT PRIMARY KEY, PRIMARY KEY (id))": ("InvalidArgument",),
    "CREATE TABLE {ns}.t (_deleted BOOLEAN)": ("InvalidArgument", "_deleted"),
    "CREATE TABLE {ns}.t (id NO_SUCH_TYPE)": ("InvalidArgument", "NO_SUCH_TYPE"),
    "CREATE TABLE {t} (id INT)": ("AlreadyExists", "items"),
    "CREATE TABLE nowhere.t (id INT)": ("NotFound", "nowhere"),
    "CREATE NAMESPACE {ns}": ("AlreadyExists", "{ns}"),
    "DROP TABLE {ns}.itemz": ("NotFound", "itemz"),
    "DROP NAMESPACE {ns}": ("FailedPrecondition", "items"),
    "DROP NAMESPACE nowhere": ("NotFound", "nowhere"),
    "FLUSH TABLE {ns}.itemz": ("NotFound", "itemz"),
    "SET insula.no_such_setting = 1": ("InvalidArgument", "no_such_setting"),
    "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'": ("PermissionDenied",),
    "COPY (SELECT 1) TO '/tmp/x.csv'": ("PermissionDenied",),
    "SET datafusion.execution.batch_size = 1": ("PermissionDenied",),
    # What the server makes is nobody's to change.
    "INSERT INTO system.queries (query_id) VALUES ('x')": ("PermissionDenied", "system"),
    "UPDATE system.audit SET text = 'x'": ("PermissionDenied", "system"),
    "DELETE FROM system.audit": ("PermissionDenied", "system"),
    "MERGE INTO system.audit a USING {t} t ON a.text = t.name WHEN MATCHED THEN DELETE": ("PermissionDenied", "system"),
    "TRUNCATE TABLE system.audit": ("PermissionDenied", "system"),
    "DROP TABLE system.queries": ("PermissionDenied", "system"),
    "DROP TABLE IF EXISTS system.queries": ("PermissionDenied", "system"),
    "DROP TABLE information_schema.tables": ("PermissionDenied", "information_schema"),
    "ALTER TABLE system.queries ADD COLUMN x INT": ("PermissionDenied", "system"),
    "CREATE TABLE system.x (id INT)": ("PermissionDenied", "system"),
    "CREATE TABLE information_schema.x (id INT)": ("PermissionDenied", "information_schema"),
    "DROP NAMESPACE system": ("PermissionDenied", "system"),
    "DROP NAMESPACE IF EXISTS information_schema": ("PermissionDenied", "information_schema"),
    # Slips that the libraries below call bugs.
    "SELECT regexp_like(name, '(') FROM {t}": ("InvalidArgument", "regular expression"),
    "SELECT name FROM {t} WHERE name ~ '['": ("InvalidArgument", "regular expression"),
    "SELECT array_resize([1, 2], -1)": ("InvalidArgument", "array_resize"),
    # Where it is.
    "SELECT id FROM {t} WHERE": ("InvalidArgument", "Line: 1", "Column: "),
    "SELECT (1": ("InvalidArgument", "Line: 1", "Column: 10"),
    "CREATE TABLE {ns}.t (id INTEGR)": ("InvalidArgument", "INTEGR", "INTEGER", "Line: 1", "Column: "),
    "SELECT CAST('1' AS INTEGR)": ("InvalidArgument", "INTEGR", "INTEGER", "Line: 1", "Column: 20"),
    "SELECT id FROM {t}\nORDER BY nam": ("InvalidArgument", "nam", "name", "Line: 2", "Column: 10"),
    "SELECT count(*) FROM {t}\nGROUP BY nam": ("InvalidArgument", "nam", "name", "Line: 2", "Column: 10"),
    "SELECT a.id FROM {t} a\nJOIN {t} b USING (nam)": ("InvalidArgument", "nam", "Line: 2"),
    "CREATE TABLE {ns}.t (id INT,\nx INT DEFAULT nam)": ("InvalidArgument", "nam", "Line: 2", "Column: 15"),
    # A default is looked at when it is declared.
    "CREATE TABLE {ns}.t (id INT, x INT DEFAULT 'x')": ("InvalidArgument",),
    "CREATE TABLE {ns}.t (id INT, x INT DEFAULT 1 / 0)": ("InvalidArgument",),
    "CREATE TABLE {ns}.t (id INT, x INT DEFAULT count(*))": ("InvalidArgument", "aggregate"),
    "CREATE TABLE {ns}.t (id INT, x INT DEFAULT (SELECT 1))": ("InvalidArgument", "subquery"),
    "CREATE TABLE {ns}.t (id INT, x INT DEFAULT now())": ("InvalidArgument",),
    "CREATE TABLE {ns}.t (id INT, x TINYINT DEFAULT 300)": ("InvalidArgument",),
    "ALTER TABLE {t} ALTER COLUMN size SET DEFAULT 'x'": ("InvalidArgument",),
    "ALTER TABLE {t} ADD COLUMN x INT DEFAULT 'x'": ("InvalidArgument",),
    # Never passed over as if it were not there.
    "SELECT id INTO x FROM {t}": ("Unimplemented", "CREATE TABLE"),
    "SELECT * FROM {t} TABLESAMPLE SYSTEM (10)": ("Unimplemented", "TABLESAMPLE"),
    "SELECT * FROM {t} FOR UPDATE": ("Unimplemented", "FOR UPDATE", "ABORTED"),
    "SELECT * FROM (SELECT * FROM {t} FOR SHARE) s": ("Unimplemented", "FOR SHARE"),
    "SET LOCAL timezone = 'UTC'": ("Unimplemented", "SET LOCAL"),
    "SHOW TABLES WHERE kind = 'user'": ("Unimplemented", "WHERE"),
    "SHOW FULL TABLES": ("Unimplemented", "FULL"),
    "SHOW TABLES IN DATABASE insula": ("Unimplemented", "FROM"),
    "SHOW TABLES FROM nowhere": ("NotFound", "nowhere"),
    "SHOW COLUMNS FROM {ns}.itemz": ("NotFound", "itemz"),
    # What has no such id is not there.
    "KILL QUERY 'nonsense'": ("NotFound", "nonsense"),
}


@pytest.mark.parametrize("path", ["execute", "update"])
@pytest.mark.parametrize("sql", CASES)
def test_bad_statements(admin, namespace, items, refused, sql, path):
    admin.change(f"INSERT INTO {items} VALUES (1, 'one', 1), (2, 'two', 2)")
    code, *words = (word.replace("{ns}", namespace) for word in CASES[sql])
    with refused(code, *words):
        if path == "execute":
            admin.rows(sql.format(t=items, ns=namespace))
        else:
            admin.change(sql.format(t=items, ns=namespace))
    assert admin.rows(f"SELECT * FROM {items} ORDER BY id") == [(1, "one", 1), (2, "two", 2)]


OVERFLOWS = ("9223372036854775807 + id", "id - 9223372036854775807 - 3", "9223372036854775807 * (id + 1)")


@pytest.mark.parametrize("expression", OVERFLOWS)
def test_integer_overflow(alice, items, refused, expression):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    with refused("InvalidArgument", "overflow"):
        alice.rows(f"SELECT {expression} FROM {items}")
    with refused("InvalidArgument", "overflow"):
        alice.change(f"UPDATE {items} SET id = {expression}")
    assert alice.rows(f"SELECT id, id + 1, id * 2 - 3 FROM {items} WHERE id + 1 = 2") == [(1, 2, -1)]
    assert alice.rows(f"SELECT id + 1, count(*) FROM {items} GROUP BY id + 1") == [(2, 1)]


def test_a_path_is_no_table(alice, refused):
    for path in ("/etc/passwd", "file:///etc/passwd", "x.parquet"):
        with refused("PermissionDenied", "--allow-external"):
            alice.rows(f'SELECT * FROM "{path}"')
        with refused("PermissionDenied", "--allow-external"):
            alice.rows(f"SELECT * FROM '{path}'")


def test_if_exists_and_if_not_exists(admin, namespace, items):
    for statement in (
        f"CREATE NAMESPACE IF NOT EXISTS {namespace}",
        f"CREATE TABLE IF NOT EXISTS {items} (other INT)",
        f"DROP TABLE IF EXISTS {namespace}.itemz",
        "DROP NAMESPACE IF EXISTS nowhere",
    ):
        admin.change(statement)
    assert admin.rows(f"SELECT count(*) FROM {items}") == [(0,)]


def test_drop_namespace_cascade(admin, alice, namespace, items, refused):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 1)")
    admin.change(f"DROP NAMESPACE {namespace} CASCADE")
    with refused("NotFound"):
        alice.rows(f"SELECT * FROM {items}")
    admin.change(f"CREATE NAMESPACE {namespace}")
    admin.change(f"CREATE TABLE {items} (id BIGINT PRIMARY KEY)")
    assert alice.rows(f"SELECT * FROM {items}") == []


def test_messages_hold_no_rows_and_no_internals(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'hush-hush', 1)")
    for sql in (f"SELECT CAST(name AS INT) FROM {items}", f"SELECT id / 0 FROM {items}", f"SELECT nam FROM {items}"):
        with pytest.raises(Exception) as failure:
            alice.rows(sql)
        for word in ("hush-hush", "DataFusionError", "SchemaError(", "src/", ".rs"):
            assert word not in str(failure.value)


def test_messages_beg_for_no_bug_reports(alice, items, refused):
    slips = ("SELECT sum(name) FROM {t}", "SELECT abs('x', 1)", "SELECT substring(name) FROM {t}", "SELECT [1] || 2 * 'x'")
    slips += ("SELECT * FROM {t} t, LATERAL (SELECT t.id LIMIT 1) l", "SELECT array_resize([1], -1)")
    for sql in slips:
        with pytest.raises(Exception) as failure:
            alice.rows(sql.format(t=items))
        for word in ("bug", "DataFusion's", "Internal error", " { ", "github.com"):
            assert word not in str(failure.value), failure.value


def test_a_syntax_error_says_where(alice, refused):
    with refused("InvalidArgument", "Line: 2", "Column"):
        alice.rows("SELECT 1\nFROM t ORDER 5")


def test_names_fold_as_in_postgresql(admin, alice, namespace, items):
    alice.change(f"INSERT INTO {items.upper()} (ID, Name) VALUES (1, 'one')")
    assert alice.rows(f"SELECT Id FROM insula.{namespace}.ITEMS") == [(1,)]
    admin.change(f'CREATE TABLE {namespace}."Mixed" ("Key" INT PRIMARY KEY)')
    alice.change(f'INSERT INTO {namespace}."Mixed" VALUES (1)')
    assert alice.rows(f'SELECT "Key" FROM {namespace}."Mixed"') == [(1,)]
