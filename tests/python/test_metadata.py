"""What drivers and tools ask before the first query."""

import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi

from demo import adbc, flightsql


@pytest.fixture
def keyed(admin, namespace):
    admin.change(f"CREATE TABLE {namespace}.keyed (note TEXT, b INT, a BIGINT NOT NULL, PRIMARY KEY (a, b))")
    admin.change(f"CREATE SHARED TABLE {namespace}.plain (x DOUBLE)")
    return namespace


def objects(login, depth: str, **filters) -> list[dict]:
    return login.connection.adbc_get_objects(depth=depth, **filters).read_all().to_pylist()


def test_get_objects_at_every_depth(alice, keyed):
    assert [c["catalog_name"] for c in objects(alice, "catalogs")] == ["insula"]
    [catalog] = objects(alice, "db_schemas")
    assert {"public", keyed} <= {s["db_schema_name"] for s in catalog["catalog_db_schemas"]}
    [catalog] = objects(alice, "tables", db_schema_filter=keyed)
    [schema] = catalog["catalog_db_schemas"]
    assert {t["table_name"]: t["table_type"] for t in schema["db_schema_tables"]} == {
        "keyed": "TABLE",
        "plain": "TABLE",
    }
    [catalog] = objects(alice, "all", db_schema_filter=keyed, table_name_filter="key%")
    [table] = catalog["catalog_db_schemas"][0]["db_schema_tables"]
    columns = [(c["column_name"], c["ordinal_position"]) for c in table["table_columns"]]
    assert columns == [("note", 1), ("b", 2), ("a", 3)]
    # System columns are no part of the definition.


def test_filters_are_patterns(alice, keyed):
    def found(pattern):
        [catalog] = objects(alice, "tables", db_schema_filter=keyed, table_name_filter=pattern)
        return sorted(t["table_name"] for s in catalog["catalog_db_schemas"] for t in s["db_schema_tables"])

    assert found("%") == ["keyed", "plain"]
    assert found("k_yed") == ["keyed"]
    assert found("%lai%") == ["plain"]
    assert found("k\\_yed") == [] and found("nothing") == []


def test_get_tables_without_schema_has_four_columns(alice, keyed):
    table = alice.flight().fetch("CommandGetTables", {2: keyed})
    assert table.column_names == ["catalog_name", "db_schema_name", "table_name", "table_type"]
    assert table["table_name"].to_pylist() == ["keyed", "plain"]
    assert alice.opened[-1].fetch("CommandGetTables", {1: "no_such_catalog"}).num_rows == 0
    assert alice.opened[-1].fetch("CommandGetTables", {2: keyed, 4: ["VIEW"]}).num_rows == 0


def test_get_tables_with_schema(alice, keyed):
    table = alice.flight().fetch("CommandGetTables", {2: keyed, 3: "keyed", 5: True})
    schema = pa.ipc.read_schema(pa.py_buffer(table["table_schema"][0].as_py()))
    assert schema.names == ["note", "b", "a"] and schema.types == [pa.string(), pa.int32(), pa.int64()]
    assert [field.nullable for field in schema] == [True, False, False]
    assert schema.field("a").metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == b"BIGINT"


def test_get_table_schema(alice, keyed):
    schema = alice.connection.adbc_get_table_schema("keyed", db_schema_filter=keyed)
    assert schema.names == ["note", "b", "a"]
    with pytest.raises(Exception, match="NOT_FOUND"):
        alice.connection.adbc_get_table_schema("no_such", db_schema_filter=keyed)


def test_table_types(alice):
    assert "TABLE" in alice.connection.adbc_get_table_types()


def test_primary_keys(alice, keyed):
    keys = alice.flight().fetch("CommandGetPrimaryKeys", {2: keyed, 3: "keyed"})
    assert sorted(zip(keys["key_sequence"].to_pylist(), keys["column_name"].to_pylist())) == [(1, "a"), (2, "b")]
    assert alice.opened[-1].fetch("CommandGetPrimaryKeys", {2: keyed, 3: "plain"}).num_rows == 0


@pytest.mark.parametrize("command", ["CommandGetExportedKeys", "CommandGetImportedKeys"])
def test_there_are_no_foreign_keys(alice, keyed, command):
    keys = alice.flight().fetch(command, {2: keyed, 3: "keyed"})
    assert keys.num_rows == 0 and "fk_column_name" in keys.column_names


def test_cross_reference_is_empty(alice, keyed):
    assert alice.flight().fetch("CommandGetCrossReference", {3: "keyed", 6: "plain"}).num_rows == 0


def test_sql_info_of_adbc(alice):
    info = alice.connection.adbc_get_info()
    assert info["vendor_name"] == "Insula" and info["vendor_version"]
    assert "ADBC Flight SQL Driver" in info["driver_name"]


def test_sql_info(alice):
    client = alice.flight()
    everything = client.fetch("CommandGetSqlInfo")
    codes = everything["info_name"].to_pylist()
    assert len(codes) == len(set(codes)) > 60 and max(codes) < 1000
    # A 32-bit integer, 2 for savepoints; without it ADBC refuses to turn autocommit off.
    [transactions] = client.fetch("CommandGetSqlInfo", {1: [8]}).to_pylist()
    assert transactions == {"info_name": 8, "value": 2}
    [quote] = client.fetch("CommandGetSqlInfo", {1: [504]}).to_pylist()
    assert quote["value"] == '"'
    assert client.fetch("CommandGetSqlInfo", {1: [987_654]}).num_rows == 0


def test_xdbc_type_info(alice):
    client = alice.flight()
    types = client.fetch("CommandGetXdbcTypeInfo")
    names = types["type_name"].to_pylist()
    assert {"BIGINT", "BOOLEAN", "DATE", "DECIMAL", "DOUBLE", "INTEGER"} <= {name.upper() for name in names}
    bigint = client.fetch("CommandGetXdbcTypeInfo", {1: 2**64 - 5})  # XDBC_BIGINT = -5
    assert bigint.num_rows >= 1 and set(bigint["data_type"].to_pylist()) == {-5}


def test_current_schema_is_a_session_option(alice, namespace, items):
    assert alice.connection.adbc_current_catalog == "insula"
    alice.connection.adbc_current_db_schema = namespace
    assert alice.connection.adbc_current_db_schema == namespace
    assert alice.rows("SELECT count(*) FROM items") == [(0,)]
    with pytest.raises(dbapi.ProgrammingError, match="schema.*invalid value"):
        alice.connection.adbc_current_db_schema = "no_such_namespace"
    assert alice.connection.adbc_current_db_schema == namespace


def test_actions_are_listed(alice):
    client = alice.flight()
    listed = {action.type for action in client.flight.list_actions(client.options)}
    assert {"CreatePreparedStatement", "ClosePreparedStatement", "BeginTransaction", "EndSavepoint"} <= listed


def test_what_is_not_there_says_so(alice):
    client = alice.flight()
    with pytest.raises(pa.ArrowNotImplementedError, match="NoSuchAction"):
        client.action("NoSuchAction", b"")


def test_a_schema_of_the_connection_that_does_not_exist_is_refused_at_once(server, alice, namespace, refused):
    """JDBC's driver makes this header of what its URL says."""
    header = adbc.HEADER + "schema"
    options = {"username": alice.name, "password": alice.password}
    with refused("NotFound", "nowhere", "public"):
        with dbapi.connect(server.url, options | {header: "nowhere"}, autocommit=True) as connection:
            adbc.scalar(connection, "SELECT 1")
    with dbapi.connect(server.url, options | {header: namespace}, autocommit=True) as connection:
        assert adbc.scalar(connection, "SELECT current_schema()") == namespace
