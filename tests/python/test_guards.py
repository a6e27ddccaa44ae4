"""A condition that rules a failure out does so, as in PostgreSQL."""

import pytest


@pytest.fixture
def t(admin, alice, namespace):
    admin.change(f"CREATE USER TABLE {namespace}.t (id BIGINT PRIMARY KEY, a BIGINT, b BIGINT, s TEXT, d BOOLEAN)")
    alice.change(
        f"INSERT INTO {namespace}.t VALUES (1, 0, 5, 'x', true), (2, 2, 6, '12', false), (3, NULL, 7, NULL, NULL)"
    )
    return f"{namespace}.t"


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("CASE WHEN a <> 0 THEN b / a END", [None, 3, None]),
        ("CASE WHEN a <> 0 THEN 10 / a > 1 END", [None, True, None]),
        ("CASE WHEN a <> 0 THEN 10 / a > 1 ELSE d END", [True, True, None]),
        ("CASE WHEN a = 0 THEN NULL WHEN a > 0 THEN 10 / a > 100 ELSE true END", [None, False, True]),
        ("CASE a WHEN 0 THEN false ELSE 10 / a > 1 END", [False, True, None]),
        ("CASE WHEN a > 0 THEN false ELSE (a + 1) * 9223372036854775807 > 0 END", [True, False, None]),
        ("CASE WHEN a > 0 THEN (a - 2) * 9223372036854775807 = 0 ELSE false END", [False, True, False]),
        ("coalesce(CASE WHEN a = 0 THEN 1 END, 10 / a)", [1, 5, None]),
        ("coalesce(d, 10 / a > 1)", [True, False, None]),
        ("a <> 0 AND 10 / a > 1", [False, True, None]),
        ("a = 0 OR 10 / a > 100", [True, False, None]),
        ("CASE WHEN s ~ '^[0-9]+$' THEN s::int END", [None, 12, None]),
    ],
)
def test_values(alice, t, expression, values):
    assert [row[0] for row in alice.rows(f"SELECT {expression} AS v FROM {t} ORDER BY id")] == values


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("a <> 0 AND 10 / a > 1", [2]),
        ("a <> 0 AND b / a = 3 AND b % a = 0", [2]),
        ("a = 0 OR 10 / a > 1", [1, 2]),
        ("CASE WHEN a <> 0 THEN 10 / a > 1 ELSE false END", [2]),
        ("s ~ '^[0-9]+$' AND s::int > 5 AND s::int < 50", [2]),
        ("id = 2 AND CAST(s AS INT) > 5", [2]),
        ("id IN (SELECT a FROM (SELECT a FROM {t} WHERE a <> 0 AND 10 / a > 1) q)", [2]),
    ],
)
def test_conditions(admin, alice, t, condition, ids, flushed):
    if flushed:
        admin.rows(f"FLUSH TABLE {t}")
    rows = alice.rows(f"SELECT id FROM {t} WHERE {condition.format(t=t)} ORDER BY id")
    assert [row[0] for row in rows] == ids


def test_what_nothing_guards_fails(alice, t, refused):
    for sql in ["SELECT id FROM {t} WHERE 10 / a > 1", "SELECT CASE WHEN b > 0 THEN 10 / a > 1 END FROM {t}"]:
        with refused("InvalidArgument", "division by zero"):
            alice.rows(sql.format(t=t))
