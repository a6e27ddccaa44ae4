"""Prepared queries and updates with `?` and `$n`, one row of parameters and many."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest


@pytest.fixture
def filled(alice, items):
    alice.change(f"INSERT INTO {items} VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', NULL)")
    return items


@pytest.mark.parametrize("marks", [("?", "?"), ("$1", "$2")])
def test_query(alice, filled, marks):
    sql = f"SELECT id FROM {filled} WHERE size = {marks[0]} OR name = {marks[1]} ORDER BY id"
    assert alice.rows(sql, [10, "three"]) == [(1,), (3,)]
    assert alice.rows(sql, [20, "nobody"]) == [(2,)]


def test_numbered_parameters_out_of_order_and_repeated(alice, filled):
    assert alice.rows(f"SELECT id FROM {filled} WHERE name = $2 AND size = $1 AND size <= $1", [10, "one"]) == [(1,)]


@pytest.mark.parametrize("mark", ["?", "$"])
def test_twelve_parameters_keep_their_order(alice, mark):
    marks = ["?" if mark == "?" else f"${i + 1}" for i in range(12)]
    sql = "SELECT " + ", ".join(f"CAST({m} AS BIGINT) AS c{i}" for i, m in enumerate(marks))
    assert alice.rows(sql, list(range(100, 112))) == [tuple(range(100, 112))]


def test_parameter_schema(alice, filled):
    with alice.connection.cursor() as cursor:
        schema = cursor.adbc_prepare(f"INSERT INTO {filled} VALUES (?, ?, ?)")
    assert schema.types == [pa.int64(), pa.string(), pa.int32()] and all(field.nullable for field in schema)


def test_result_schema_before_execution(alice, filled):
    with alice.connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema(f"SELECT id, name, size FROM {filled} WHERE id = ?")
    assert schema.names == ["id", "name", "size"] and schema.types == [pa.int64(), pa.string(), pa.int32()]


def test_null_parameters(alice, filled):
    assert alice.change(f"UPDATE {filled} SET size = ? WHERE id = ?", [(None, 1)]) == 1
    assert alice.rows(f"SELECT id FROM {filled} WHERE size IS NULL ORDER BY id") == [(1,), (3,)]


def test_executemany(alice, filled):
    assert alice.change(f"INSERT INTO {filled} VALUES (?, ?, ?)", [(i, f"n{i}", i) for i in range(10, 60)]) == 50
    assert alice.change(f"UPDATE {filled} SET size = $2 WHERE id = $1", [(10, -1), (11, -2), (999, -3)]) == 2
    assert alice.change(f"DELETE FROM {filled} WHERE id = ?", [(i,) for i in range(20, 60)]) == 40
    assert alice.rows(f"SELECT count(*), min(size) FROM {filled}") == [(13, -2)]


def test_a_thousand_rows_are_one_commit(alice, admin, items):
    count = 1_000
    assert alice.change(f"INSERT INTO {items} VALUES (?, ?, ?)", [(i, f"n{i}", i) for i in range(count)]) == count
    admin.change(f"FLUSH TABLE {items}")
    assert alice.change(f"UPDATE {items} SET size = -size WHERE id = ?", [(i,) for i in range(count)]) == count
    seqs = f"SELECT count(DISTINCT _seq), sum(size), count(*) FROM {items}"
    assert alice.rows(seqs) == [(1, -sum(range(count)), count)]
    assert alice.change(f"UPDATE {items} SET size = size + 1 WHERE id = ?", [(7,), (8,), (7,)]) == 3
    assert alice.rows(f"SELECT size FROM {items} WHERE id IN (7, 8) ORDER BY id") == [(-5,), (-7,)]
    assert alice.change(f"DELETE FROM {items} WHERE id = ? AND name = ?", [(1, "n1"), (2, "n1")]) == 1


def test_row_700_of_a_batch_fails_and_leaves_nothing(alice, items, refused):
    alice.change(f"INSERT INTO {items} VALUES (?, ?, ?)", [(i, f"n{i}", i) for i in range(900)])
    rows = [(0 if i == 700 else 1, i) for i in range(900)]
    for keys in (lambda i: i, lambda i: i % 899):
        with refused("InvalidArgument"):
            alice.change(f"UPDATE {items} SET size = 1 / ? WHERE id = ?", [(by, keys(i)) for by, i in rows])
        assert alice.rows(f"SELECT sum(size), count(DISTINCT _seq) FROM {items}") == [(sum(range(900)), 1)]


def test_a_query_with_many_rows_of_parameters(alice, filled):
    rows = pa.table({"1": pa.array([3, 1, 99, 3])})
    assert alice.rows(f"SELECT id FROM {filled} WHERE id = ?", rows) == [(3,), (1,), (3,)]


def test_insert_by_parameters_of_every_simple_type(alice, admin, namespace):
    table = f"{namespace}.t"
    admin.change(
        f"CREATE TABLE {table} (i SMALLINT, d DOUBLE, b BOOLEAN, s TEXT, x BYTEA, n DECIMAL(12, 2), day DATE,"
        " at TIMESTAMP(6) WITH TIME ZONE)"
    )
    row = (7, 2.5, True, "ß", b"\x00\xff", Decimal("12.34"), date(2013, 1, 2), datetime(2013, 1, 2, 3, 4, 5, 6, UTC))
    marks = ", ".join("?" * len(row))
    assert alice.change(f"INSERT INTO {table} VALUES ({marks})", [row, (None,) * len(row)]) == 2
    assert alice.rows(f"SELECT * FROM {table} WHERE s IS NOT NULL") == [row]
    assert alice.rows(f"SELECT count(*) FROM {table} WHERE day = ? AND at = ? AND n = ?", [row[6], row[7], row[5]]) == [
        (1,)
    ]


def test_a_parameter_is_never_sql(alice, filled):
    assert alice.rows(f"SELECT id FROM {filled} WHERE name = ?", ["one' OR '1'='1"]) == []


def test_wrong_number_and_wrong_type(alice, filled, refused):
    with refused("InvalidArgument"):
        alice.rows(f"SELECT id FROM {filled} WHERE id = ? AND size = ?", [1])
    with refused("InvalidArgument"):
        alice.change(f"INSERT INTO {filled} VALUES (?, ?, ?)", [("not a number", "x", 1)])
    with refused("InvalidArgument"):
        alice.rows(f"SELECT id FROM {filled} WHERE id = ?")
    assert alice.rows(f"SELECT count(*) FROM {filled}") == [(3,)]


def test_a_condition_is_a_boolean(alice, filled, refused):
    for condition, rows in [
        ("?", [(1,), (2,), (3,)]),
        ("NOT ?", []),
        ("id = 1 AND ?", [(1,)]),
        ("id = 1 OR ?", [(1,), (2,), (3,)]),
        ("CASE WHEN ? THEN id = 2 ELSE id = 3 END", [(2,)]),
    ]:
        sql = f"SELECT id FROM {filled} WHERE {condition} ORDER BY id"
        with alice.connection.cursor() as cursor:
            assert cursor.adbc_prepare(sql).types == [pa.bool_()], condition
        assert alice.rows(sql, [True]) == rows, condition
        with refused("InvalidArgument"):
            alice.rows(sql, ["perhaps"])


def test_no_fraction_is_cut_off_to_make_an_integer(alice, filled, refused):
    for condition in ("id = ?", "id < ?", "id IN (?)"):
        with refused("InvalidArgument", "$1", "fraction", "CAST($1 AS DOUBLE)"):
            alice.rows(f"SELECT id FROM {filled} WHERE {condition}", [1.5])
    with refused("InvalidArgument", "fraction"):
        alice.rows(f"SELECT id FROM {filled} WHERE id = ?", [Decimal("1.50")])
    with refused("InvalidArgument", "fraction"):
        alice.change(f"INSERT INTO {filled} (id, name) VALUES (?, ?)", [(100, "x"), (100.5, "y")])
    assert alice.rows(f"SELECT count(*) FROM {filled}") == [(3,)]
    assert alice.rows(f"SELECT id FROM {filled} WHERE id = ?", [2.0]) == [(2,)]
    assert alice.rows(f"SELECT id FROM {filled} WHERE id < CAST(? AS DOUBLE)", [1.5]) == [(1,)]


@pytest.mark.parametrize(
    ("sql", "parameters", "value"),
    [
        ("SELECT upper(?)", ["a"], "A"),
        ("SELECT abs(?)", [-3], 3),
        ("SELECT abs(?)", [-3.5], 3.5),
        ("SELECT sqrt(?)", [4], 2.0),
        ("SELECT power(?, 2)", [3], 9.0),
        ("SELECT round(?, 2)", [1.239], 1.24),
        ("SELECT ? || 'x'", ["a"], "ax"),
        ("SELECT coalesce(?, 1)", [None], 1),
        ("SELECT substr('abc', ?)", [2], "bc"),
        ("SELECT substr('abc', ?)", ["2"], "bc"),
        ("SELECT left(?, ?)", ["abc", 2], "ab"),
        ("SELECT lpad(?, ?, ?)", ["a", 3, "x"], "xxa"),
        ("SELECT repeat(?, ?)", ["a", 3], "aaa"),
        ("SELECT split_part(?, ',', ?)", ["a,b", 2], "b"),
        ("SELECT make_date(?, ?, ?)", [2024, 5, 6], date(2024, 5, 6)),
        ("SELECT 5 BETWEEN ? AND ?", [1, 9], True),
        ("SELECT 'abc' LIKE ?", ["a%"], True),
        ("SELECT 2 IN (?, ?)", [1, 2], True),
    ],
)
def test_parameters_of_functions_and_operators(alice, sql, parameters, value):
    assert alice.rows(sql, parameters) == [(value,)]


def test_a_function_says_the_type_of_its_parameter(alice, filled):
    def types(sql: str) -> list[pa.DataType]:
        with alice.connection.cursor() as cursor:
            return cursor.adbc_prepare(sql).types

    assert types("SELECT substr(?, ?), sqrt(?)") == [pa.string(), pa.int64(), pa.float64()]
    assert types("SELECT abs(?), coalesce(?, 1)") == [pa.float64(), pa.int64()]
    assert types(f"SELECT left(name, ?) FROM {filled} WHERE id = abs(?) LIMIT ?") == [pa.int64(), pa.float64(), pa.int64()]
    # Whoever has a type may keep it, where the function does not mind.
    assert alice.query("SELECT abs(?)", [-3]).schema.types == [pa.int64()]
