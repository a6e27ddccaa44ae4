"""Generated queries with subqueries give what SQLite gives, NULLs included."""

import random
import sqlite3

import pytest

TABLES = {"t": ("a", "b", "c"), "u": ("x", "y", "z")}


def fill(random: random.Random) -> dict[str, list[tuple]]:
    value = lambda: random.choice([None, 0, 1, 1, 2, 2, 3, 4])
    rows = {
        name: [(i, *(value() for _ in columns)) for i in range(random.choice([3, 6, 9]))]
        for name, columns in TABLES.items()
    }
    if random.random() < 0.2:
        rows["u"] = []
    return rows


class Queries:
    """Conditions and values over `t`, with subqueries of `u` that may name its columns."""

    def __init__(self, random: random.Random):
        self.random = random

    def outer(self) -> str:
        return f"t.{self.random.choice('abc')}"

    def inner(self) -> str:
        return f"u.{self.random.choice('xyz')}"

    def condition(self) -> str:
        pick = self.random.choice
        correlated = [f"{self.inner()} = {self.outer()}"] * pick([0, 1, 1])
        if correlated and self.random.random() < 0.3:
            correlated.append(f"{self.inner()} {pick(['>', '<>', '<='])} {self.outer()}")
        plain = [f"{self.inner()} {pick(['=', '>', '<', '<>'])} {pick([0, 1, 2, 3])}"] * pick([0, 0, 1])
        return " AND ".join(correlated + plain) or "1 = 1"

    def equality(self) -> str:
        return f"{self.inner()} = {self.outer()}"

    def predicate(self, depth: int = 0) -> str:
        pick, kind = self.random.choice, self.random.random()
        if depth < 2 and kind < 0.25:
            return f"({self.predicate(depth + 1)} {pick(['AND', 'OR'])} {self.predicate(depth + 1)})"
        if depth < 2 and kind < 0.4:
            return f"(NOT {self.predicate(depth + 1)})"
        if depth < 2 and kind < 0.5:
            return f"(({self.predicate(depth + 1)}) IS {pick(['', 'NOT '])}NULL)"
        if kind < 0.6:
            return f"{self.outer()} {pick(['=', '>', '<>'])} {pick([0, 1, 2])}"
        if kind < 0.7:
            return f"{self.scalar()} {pick(['=', '>', '<>'])} {self.outer()}"
        if kind < 0.85:
            return f"{pick(['', 'NOT '])}EXISTS (SELECT 1 FROM u WHERE {self.condition()})"
        found = pick([self.inner(), self.inner(), f"{self.inner()} + 1"])
        return f"{self.outer()} {pick(['', 'NOT '])}IN (SELECT {found} FROM u WHERE {self.condition()})"

    def scalar(self) -> str:
        pick = self.random.choice
        aggregate = pick(["count(*)", f"count({self.inner()})", f"max({self.inner()})", f"sum({self.inner()})"])
        order = f"{self.inner()} {pick(['ASC NULLS LAST', 'DESC NULLS FIRST'])}, u.id"
        return pick(
            [
                f"(SELECT {aggregate} FROM u WHERE {self.equality()})",
                f"(SELECT {aggregate} + {self.outer()} FROM u WHERE {self.equality()})",
                f"(SELECT {self.inner()} FROM u WHERE {self.equality()} ORDER BY {order} LIMIT 1)",
                f"(SELECT u.x FROM u WHERE u.id = {self.outer()})",
            ]
        )

    def query(self) -> str:
        kind = self.random.random()
        if kind < 0.4:
            return f"SELECT t.id, {self.predicate()} AS p FROM t"
        if kind < 0.5:
            return f"SELECT t.id, CASE WHEN {self.predicate()} THEN 1 WHEN {self.predicate()} THEN 2 END AS p FROM t"
        if kind < 0.6:
            return f"SELECT t.id, {self.scalar()} AS p FROM t"
        if kind < 0.7:
            return f"SELECT count(*) FILTER (WHERE {self.predicate()}), sum(CASE WHEN {self.predicate()} THEN 1 END) FROM t"
        return f"SELECT t.id FROM t WHERE {self.predicate()} AND {self.predicate()}"


@pytest.mark.parametrize("seed", range(12))
def test_they_agree(admin, alice, namespace, seed):
    numbers = random.Random(seed)
    oracle = sqlite3.connect(":memory:")
    alice.change(f"SET schema = {namespace}")
    for name, rows in fill(numbers).items():
        columns = ", ".join(f"{column} BIGINT" for column in TABLES[name])
        admin.change(f"CREATE USER TABLE {namespace}.{name} (id BIGINT PRIMARY KEY, {columns})")
        oracle.execute(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, {columns})")
        oracle.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", rows)
        if rows:
            alice.change(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", rows)
    if seed % 2:
        admin.rows("FLUSH ALL")
    queries = Queries(numbers)
    for _ in range(40):
        sql = queries.query()
        key = lambda row: [(value is not None, value) for value in row]
        expected = sorted((tuple(row) for row in oracle.execute(sql)), key=key)
        try:
            found = alice.rows(sql)
        except Exception as error:
            pytest.fail(f"{sql}: {error}")
        assert sorted(found, key=key) == expected, sql
