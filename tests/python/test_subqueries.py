"""Subqueries wherever PostgreSQL takes them, with its answers where NULL is involved."""

import pytest


@pytest.fixture
def shop(admin, alice, namespace):
    """The namespace of customers `c` and orders `o`, one of which has no customer."""
    admin.change(f"CREATE USER TABLE {namespace}.c (id BIGINT PRIMARY KEY, name TEXT, lim BIGINT)")
    admin.change(
        f"CREATE USER TABLE {namespace}.o (id BIGINT PRIMARY KEY, cust BIGINT, amount BIGINT, at BIGINT, tag TEXT)"
    )
    alice.change(f"SET schema = {namespace}")
    alice.change("INSERT INTO c VALUES (1, 'ann', 10), (2, 'bob', 20), (3, 'cy', 30), (4, NULL, NULL)")
    alice.change("INSERT INTO o VALUES (1, 1, 5, 1, 'a'), (2, 1, 15, 2, 'b'), (3, 2, 7, 3, NULL), (4, NULL, 9, 4, 'a')")
    return namespace


@pytest.fixture
def column(alice, shop):
    """The values of an expression for each customer, in their order."""
    return lambda expression: [row[0] for row in alice.rows(f"SELECT {expression} AS v FROM c ORDER BY id")]


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("EXISTS (SELECT 1 FROM o WHERE o.cust = c.id)", [True, True, False, False]),
        ("NOT EXISTS (SELECT 1 FROM o WHERE o.cust = c.id)", [False, False, True, True]),
        ("EXISTS (SELECT 1 FROM o WHERE o.cust = c.id AND o.amount > c.lim)", [True, False, False, False]),
        ("EXISTS (SELECT 1 FROM o WHERE o.amount > c.lim)", [True, False, False, False]),
        ("EXISTS (SELECT 1 FROM o)", [True] * 4),
        ("EXISTS (SELECT 1 FROM o WHERE id > 100)", [False] * 4),
        ("CASE WHEN EXISTS (SELECT 1 FROM o WHERE o.cust = c.id) THEN 'y' ELSE 'n' END", ["y", "y", "n", "n"]),
        (
            "(SELECT EXISTS (SELECT 1 FROM o WHERE o.cust = c2.id) FROM c c2 WHERE c2.id = c.id)",
            [True, True, False, False],
        ),
    ],
)
def test_exists_as_a_value(column, expression, values):
    assert column(expression) == values


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        # One order has no customer: whoever is not found may be its.
        ("id IN (SELECT cust FROM o)", [True, True, None, None]),
        ("id NOT IN (SELECT cust FROM o)", [False, False, None, None]),
        ("id IN (SELECT cust FROM o WHERE cust IS NOT NULL)", [True, True, False, False]),
        # NULL is among no rows, and unknown among any.
        ("lim IN (SELECT amount FROM o WHERE id > 100)", [False] * 4),
        ("lim NOT IN (SELECT amount + 3 FROM o)", [False, True, True, None]),
        ("NULL IN (SELECT id FROM o)", [None] * 4),
        ("lim IN (SELECT amount + 5 FROM o WHERE o.cust = c.id)", [True, False, False, False]),
        ("lim NOT IN (SELECT amount FROM o WHERE o.cust = c.id)", [True, True, True, True]),
        ("lim + 0 NOT IN (SELECT nullif(amount, 7) FROM o WHERE o.cust = c.id)", [True, None, True, True]),
        ("CASE WHEN id IN (SELECT cust FROM o) THEN 'y' ELSE 'n' END", ["y", "y", "n", "n"]),
        ("id IN (SELECT max(cust) FROM o)", [False, True, False, False]),
        ("id IN (SELECT DISTINCT cust FROM o WHERE amount < 10 ORDER BY cust LIMIT 2)", [True, True, False, False]),
        ("id = ANY (SELECT cust FROM o)", [True, True, None, None]),
        ("lim > ALL (SELECT amount FROM o WHERE o.cust = c.id)", [False, True, True, True]),
    ],
)
def test_in_as_a_value(column, expression, values):
    assert column(expression) == values


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("NOT (id IN (SELECT cust FROM o))", []),
        ("id > 3 OR id NOT IN (SELECT cust FROM o)", [4]),
        ("id > 3 OR NOT (id IN (SELECT cust FROM o) AND true)", [4]),
        ("(id IN (SELECT cust FROM o)) IS NULL", [3, 4]),
        ("(id IN (SELECT cust FROM o)) IS NOT TRUE", [3, 4]),
        ("lim NOT IN (SELECT amount FROM o WHERE o.cust = c.id)", [1, 2, 3, 4]),
        ("lim NOT IN (SELECT amount + 5 FROM o WHERE o.cust = c.id)", [2, 3, 4]),
        ("id > 3 OR EXISTS (SELECT 1 FROM o WHERE o.cust = c.id)", [1, 2, 4]),
        ("id > 3 OR id IN (SELECT cust FROM o)", [1, 2, 4]),
        ("id > 3 OR id IN (SELECT max(cust) FROM o)", [2, 4]),
        ("id > 3 OR id IN (SELECT max(cust) FROM o GROUP BY tag)", [1, 2, 4]),
        ("id > 3 OR EXISTS (SELECT 1 FROM o WHERE id > 100)", [4]),
        ("id = 1 OR id IN (VALUES (2), (3))", [1, 2, 3]),
        ("id IN (SELECT cust FROM o) AND NOT EXISTS (SELECT 1 FROM o WHERE o.cust = c.id AND o.amount > 10)", [2]),
    ],
)
def test_conditions_know_what_is_unknown(alice, shop, condition, ids):
    assert [row[0] for row in alice.rows(f"SELECT id FROM c WHERE {condition} ORDER BY id")] == ids


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("(SELECT amount FROM o WHERE o.cust = c.id ORDER BY at DESC LIMIT 1)", [15, 7, None, None]),
        ("(SELECT tag FROM o WHERE o.cust = c.id ORDER BY o.at LIMIT 1)", ["a", None, None, None]),
        (
            "(SELECT o.amount * 2 FROM o WHERE o.cust = c.id ORDER BY at DESC FETCH FIRST ROW ONLY) + 1",
            [31, 15, None, None],
        ),
        (
            "(SELECT tag FROM o WHERE o.cust = c.id GROUP BY tag ORDER BY count(*) DESC, tag LIMIT 1)",
            ["a", None, None, None],
        ),
        ("(SELECT count(*) FROM o WHERE o.cust = c.id LIMIT 1)", [2, 1, 0, 0]),
        ("(SELECT c2.name FROM c c2 WHERE c2.id = c.id)", ["ann", "bob", "cy", None]),
        ("CASE WHEN id < 3 THEN (SELECT max(amount) FROM o WHERE o.cust = c.id) ELSE -1 END", [15, 7, -1, -1]),
        ("(SELECT max(amount) + c.lim FROM o WHERE o.cust = c.id)", [25, 27, None, None]),
        ("(SELECT c.lim)", [10, 20, 30, None]),
    ],
)
def test_lookups(column, expression, values):
    assert column(expression) == values


def test_a_lookup_finds_one_row_at_most(alice, shop, refused):
    lookup = "(SELECT amount FROM o WHERE o.cust = c.id)"
    with refused("InvalidArgument", "more than one row"):
        alice.rows(f"SELECT id, {lookup} FROM c")
    with refused("InvalidArgument", "more than one row"):
        alice.rows(f"SELECT id FROM c WHERE {lookup} = 7")
    # The customer who has two orders is not asked about.
    assert alice.rows(f"SELECT id, {lookup} AS a FROM c WHERE id > 1 ORDER BY id") == [(2, 7), (3, None), (4, None)]
    assert alice.rows(f"SELECT id FROM c WHERE id > 1 AND {lookup} = 7") == [(2,)]


def test_beside_aggregates_orders_windows_and_joins(alice, shop):
    exists = "EXISTS (SELECT 1 FROM o WHERE o.cust = c.id)"
    assert alice.rows(f"SELECT count(*) FILTER (WHERE {exists}) FROM c") == [(2,)]
    assert alice.rows("SELECT sum(CASE WHEN id IN (SELECT cust FROM o) THEN 1 ELSE 0 END) FROM c") == [(2,)]
    assert alice.rows("SELECT sum((SELECT count(*) FROM o WHERE o.cust = c.id)) FROM c") == [(3,)]
    assert alice.rows(f"SELECT {exists} AS e, count(*) FROM c GROUP BY 1 ORDER BY 1") == [(False, 2), (True, 2)]
    assert alice.rows(f"SELECT {exists} AS e, count(*) FROM c GROUP BY {exists} ORDER BY 1") == [(False, 2), (True, 2)]
    assert alice.rows(f"SELECT id FROM c ORDER BY {exists}, id") == [(3,), (4,), (1,), (2,)]
    assert alice.rows("SELECT id FROM c ORDER BY (SELECT count(*) FROM o WHERE o.cust = c.id) DESC, id DESC") == [
        (1,),
        (2,),
        (4,),
        (3,),
    ]
    windows = f"SELECT id, row_number() OVER (ORDER BY {exists}, id) AS n FROM c ORDER BY id"
    assert alice.rows(windows) == [(1, 3), (2, 4), (3, 1), (4, 2)]
    joined = "SELECT c.id, o.id FROM c JOIN o ON o.cust = c.id AND EXISTS (SELECT 1 FROM o p WHERE p.id = o.id AND p.amount > 6)"
    assert sorted(alice.rows(joined)) == [(1, 2), (2, 3)]
    assert sorted(alice.rows("SELECT * FROM (VALUES ((SELECT max(id) FROM c)), (7)) v")) == [(4,), (7,)]


def test_with_parameters(alice, shop):
    sql = (
        "SELECT id, EXISTS (SELECT 1 FROM o WHERE o.cust = c.id AND o.amount > ?) AS e FROM c WHERE id < ? ORDER BY id"
    )
    assert alice.rows(sql, [10, 3]) == [(1, True), (2, False)]
    assert alice.rows(sql, [6, 3]) == [(1, True), (2, True)]


def test_they_write(alice, shop):
    # By a condition that is no equality, too.
    assert (
        alice.change(
            "UPDATE c SET name = CASE WHEN EXISTS (SELECT 1 FROM o WHERE o.cust = c.id AND o.amount < c.lim) THEN 'has' ELSE name END"
        )
        == 4
    )
    assert alice.rows("SELECT name FROM c ORDER BY id") == [("has",), ("has",), ("cy",), (None,)]
    assert (
        alice.change("UPDATE c SET lim = (SELECT o.amount FROM o WHERE o.cust = c.id ORDER BY at LIMIT 1) WHERE id < 3")
        == 2
    )
    assert alice.rows("SELECT lim FROM c ORDER BY id") == [(5,), (7,), (30,), (None,)]
    returned = alice.rows("DELETE FROM c WHERE id = 1 RETURNING id, EXISTS (SELECT 1 FROM o WHERE o.cust = 1) AS e")
    assert returned == [(1, True)]


@pytest.mark.parametrize(
    "expression",
    [
        "(SELECT max(amount) FROM o WHERE o.amount < c.lim)",
        "(SELECT name FROM c c2 WHERE c2.lim < c.lim ORDER BY c2.lim DESC LIMIT 1)",
    ],
)
def test_what_is_no_join_is_refused(alice, shop, refused, expression):
    with refused("Unimplemented", "subquery", "write it as a join"):
        alice.rows(f"SELECT {expression} FROM c")


def test_where_there_is_no_plan_it_is_refused(alice, shop, refused):
    exists = "EXISTS (SELECT 1 FROM o WHERE o.cust = c.id)"
    for sql in (
        f"SELECT DISTINCT ON (lim) lim, {exists} AS e FROM c ORDER BY lim, id",
        f"SELECT c.id FROM c LEFT JOIN o ON o.cust = c.id AND {exists}",
    ):
        with refused("Unimplemented", "subquery", "write it as a join"):
            alice.rows(sql)


def test_a_plan_that_is_kept_reads_anew(alice, shop):
    sql = "SELECT EXISTS (SELECT 1 FROM o WHERE id > 100) AS e, (SELECT tag FROM o WHERE o.cust = c.id) AS t FROM c WHERE id = 2"
    for change, row in [
        ("UPDATE o SET tag = 'z' WHERE cust = 2", (False, "z")),
        ("INSERT INTO o (id) VALUES (101)", (True, "z")),
        ("DELETE FROM o WHERE id > 2", (False, None)),
    ]:
        alice.change(change)
        assert alice.rows(sql) == [row]


def test_each_user_has_their_own(alice, bob, shop):
    bob.change(f"SET schema = {shop}")
    bob.change("INSERT INTO c VALUES (1, 'bob''s', 1)")
    rows = "SELECT id, EXISTS (SELECT 1 FROM o WHERE o.cust = c.id) AS e, id IN (SELECT cust FROM o) AS i FROM c"
    assert bob.rows(rows) == [(1, False, False)]
