"""Functions that PostgreSQL's users reach for."""

from datetime import date, datetime
from decimal import Decimal

import pytest


@pytest.fixture
def t(admin, alice, namespace):
    admin.change(
        f"CREATE USER TABLE {namespace}.t (id BIGINT PRIMARY KEY, g BIGINT, s TEXT, d DOUBLE, n DECIMAL(10, 2), b BOOLEAN)"
    )
    alice.change(
        f"INSERT INTO {namespace}.t VALUES (1, 1, 'b', 1.5, 1.25, true), (2, 1, 'a', 2.5, 2.5, false),"
        "(3, 2, 'a', NULL, NULL, NULL), (4, 2, 'a', 3.5, 2.5, true)"
    )
    return f"{namespace}.t"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("mod(7, 3)", 1), ("mod(-7, 3)", -1), ("mod(7.5, 2)", 1.5), ("div(7, 2)", 3), ("div(-7, 2)", -3), ("div(7.5, 2)", 3.0),
        ("sign(-3)", -1.0), ("ceiling(1.2)", 2.0), ("gen_random_uuid() <> gen_random_uuid()", True),
        ("width_bucket(5.35, 0.024, 10.06, 5)", 3), ("width_bucket(-1, 0, 10, 5)", 0), ("width_bucket(10, 0, 10, 5)", 6),
        ("width_bucket(3, 10, 0, 5)", 4), ("width_bucket(0, 0, 10, 5)", 1), ("width_bucket(NULL, 0, 10, 5)", None),
        ("make_timestamp(2024, 2, 29, 23, 59, 59.5)", datetime(2024, 2, 29, 23, 59, 59, 500000)),
        ("make_timestamp(1, 1, 1, 0, 0, 0)", datetime(1, 1, 1)),
        ("make_timestamp(1969, 12, 31, 23, 0, 0)", datetime(1969, 12, 31, 23)),
        ("make_timestamp(2000, 3, 1, 12, 0, 0)", datetime(2000, 3, 1, 12)),
        ("make_timestamp(9999, 12, 31, 23, 59, 59.999999)", datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("format('Hello %s, %I, %L, 100%%', 'x', 'Select', 'it''s')", "Hello x, \"Select\", 'it''s', 100%"),
        ("format('%2$s-%1$s-%s', 'a', 7)", "7-a-7"), ("format('%s|%L', NULL, NULL)", "|NULL"), ("format(NULL, 1)", None),
        ("format('plain')", "plain"),
        ("quote_literal('it''s')", "'it''s'"), ("quote_literal('a\\b')", "E'a\\\\b'"), ("quote_literal(NULL)", None),
        ("quote_nullable(NULL)", "NULL"), ("quote_ident('abc')", "abc"), ("quote_ident('Abc')", '"Abc"'),
        ("quote_ident('select')", '"select"'), ("quote_ident('a\"b')", '"a""b"'),
        ("pg_typeof(1)", "bigint"), ("pg_typeof('a')", "text"), ("pg_typeof(1.5)", "double precision"),
        ("pg_typeof(now())", "timestamp with time zone"), ("pg_typeof(make_array(1))", "bigint[]"), ("pg_typeof(NULL)", "unknown"),
        ("statement_timestamp() = now()", True), ("current_database()", "insula"),
        ("round('1.255'::DECIMAL(10, 3), 1)", Decimal("1.3")), ("round('15.255'::DECIMAL(10, 3), -1)", Decimal("20")),
        ("round('1.255'::DECIMAL(10, 3))", Decimal("1")), ("round(2.567, 2)", 2.57), ("round(17, -1)", 20),
        ("age(TIMESTAMP '2001-04-10', TIMESTAMP '1957-06-13') = INTERVAL '43 years 9 months 27 days'", True),
        ("CAST(age(DATE '2024-03-31', TIMESTAMP '2024-02-29 12:00:00') AS TEXT)", "1 mons 1 days 12 hours"),
        ("CAST(age(DATE '2024-02-29', DATE '2024-03-31') AS TEXT)", "-1 mons -2 days"),
        ("CAST(age('2025-01-01', '2024-01-01') AS TEXT)", "12 mons"),
        ("age(NULL, now())", None), ("age(current_date) = INTERVAL '0 days'", True),
        ("to_char(TIMESTAMP '2024-03-05 16:07:08.091011', 'YYYY-MM-DD HH24:MI:SS.US')", "2024-03-05 16:07:08.091011"),
        ("to_char(TIMESTAMP '2024-03-05 16:07:08', 'DD Mon YY, HH:MI am')", "05 Mar 24, 04:07 pm"),
        ("to_char(DATE '2024-03-05', 'FMDay \"in week\" IW')", "Tuesday in week 10"),
        ("to_char(TIMESTAMP '2024-03-05 16:07:08', '%d/%m MM')", "05/03 MM"),
        ("to_date('05.03.2024', 'DD.MM.YYYY')", date(2024, 3, 5)),
        ("to_timestamp('2024-03-05 16:07', 'YYYY-MM-DD HH24:MI') = TIMESTAMP '2024-03-05 16:07:00'", True),
    ],
)  # fmt: skip
def test_values(alice, expression, value):
    assert alice.rows(f"SELECT {expression} AS v") == [(value,)]


def test_of_columns(alice, t):
    assert alice.rows(f"SELECT mod(g, 2), div(id, 2), mod(n, 2) FROM {t} ORDER BY id") == [
        (1, 0, Decimal("1.25")), (1, 1, Decimal("0.50")), (0, 1, None), (0, 2, Decimal("0.50")),
    ]  # fmt: skip
    assert alice.rows(f"SELECT width_bucket(d, 0, 10, 5) FROM {t} ORDER BY id") == [(1,), (2,), (None,), (2,)]
    assert alice.rows(f"SELECT format('%s:%L', s, g) FROM {t} ORDER BY id") == [
        ("b:'1'",),
        ("a:'1'",),
        ("a:'2'",),
        ("a:'2'",),
    ]
    assert alice.rows(f"SELECT DISTINCT pg_typeof(n), pg_typeof(s) FROM {t}") == [("numeric", "text")]


def test_aggregates(alice, t):
    assert alice.rows(f"SELECT g, every(b), bool_and(b) FROM {t} GROUP BY g ORDER BY g") == [
        (1, False, False),
        (2, True, True),
    ]
    assert alice.rows(
        f"SELECT mode() WITHIN GROUP (ORDER BY s), mode(n), mode() WITHIN GROUP (ORDER BY d) FROM {t}"
    ) == [("a", Decimal("2.50"), 1.5)]
    assert alice.rows(f"SELECT g, mode() WITHIN GROUP (ORDER BY s) FROM {t} GROUP BY g ORDER BY g") == [
        (1, "a"),
        (2, "a"),
    ]
    assert alice.rows(f"SELECT mode(s) FROM {t} WHERE id > 100") == [(None,)]
    assert alice.rows(f"SELECT mode(s) OVER (PARTITION BY g) FROM {t} ORDER BY id") == [("a",)] * 4
    assert alice.rows(f"SELECT variance(d) = var_samp(d) FROM {t}") == [(True,)]


def test_mode_of_many_partitions(alice, admin, namespace):
    admin.change(f"CREATE USER TABLE {namespace}.many (id BIGINT PRIMARY KEY, v BIGINT)")
    alice.change(f"INSERT INTO {namespace}.many SELECT value, value % 1000 FROM generate_series(0, 49999)")
    alice.change(f"INSERT INTO {namespace}.many VALUES (-1, 77)")
    admin.rows(f"FLUSH TABLE {namespace}.many")
    assert alice.rows(f"SELECT mode(v), mode(v + 0.5) FROM {namespace}.many") == [(77, 77.5)]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("mod(1, 0)", "division by zero"), ("div(1, 0)", "division by zero"), ("width_bucket(1, 0, 10, 0)", "buckets"),
        ("width_bucket(1, 5, 5, 3)", "bounds"), ("make_timestamp(2023, 2, 29, 0, 0, 0)", "make_timestamp"),
        ("format('%s')", "more arguments"), ("format('a%')", "%%"), ("format('%d', 1)", "%s, %I, %L"), ("format('%5s', 1)", "lpad"),
        ("format('%I', NULL)", "NULL"), ("format('%0$s', 1)", "more arguments"),
    ],
)  # fmt: skip
def test_refusals(alice, refused, expression, words):
    with refused("InvalidArgument", words):
        alice.rows(f"SELECT {expression}")


def test_format_is_bounded(alice, refused):
    # A hundred thousand mentions of a megabyte.
    with refused("ResourceExhausted", "format"):
        alice.rows("SELECT length(format(repeat('%1$s', 100000), repeat('x', 1000000)))")


def test_percentile_disc_is_a_value_that_is_there(alice, t):
    disc = lambda fraction, by: f"percentile_disc({fraction}) WITHIN GROUP (ORDER BY {by})"
    assert alice.rows(f"SELECT {disc(0.5, 'd')}, {disc(0, 'd')}, {disc(1, 'd')}, {disc(0.3, 'd DESC')} FROM {t}") == [
        (2.5, 1.5, 3.5, 3.5)
    ]
    assert alice.rows(f"SELECT g, {disc(0.5, 's')}, {disc(0.75, 'n')} FROM {t} GROUP BY g ORDER BY g") == [
        (1, "a", Decimal("2.50")),
        (2, "a", Decimal("2.50")),
    ]
    assert alice.rows(f"SELECT {disc(0.5, 'd')} FROM {t} WHERE id = 3") == [(None,)]
    for wrong in [disc(1.5, "d"), disc("d", "d"), "percentile_disc(DISTINCT 0.5) WITHIN GROUP (ORDER BY d)"]:
        with pytest.raises(Exception, match="(?i)percentile_disc|distinct"):
            alice.rows(f"SELECT {wrong} FROM {t}")


def test_a_pattern_that_is_not_there_is_no_text(alice):
    for call in ["to_char(now(), 'Month')", "to_date('2024', 'J')", "to_timestamp('2024', 'YYYYth')"]:
        with pytest.raises(Exception, match="knows no pattern"):
            alice.rows(f"SELECT {call}")
