"""What reaches outside the database: refused to everyone, but for admins of a server with --allow-external."""

import pyarrow.parquet as parquet
import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, Server


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """An admin and a user of a server that reaches outside, and a directory with files."""
    directory = tmp_path_factory.mktemp("external")
    with Server(directory / "data", "--allow-external") as server:
        admin, ann = Login(server, "admin", ADMIN_PASSWORD), Login(server, "ann", "p")
        admin.change("CREATE USER ann PASSWORD 'p'")
        (directory / "people.csv").write_text("id,name\n1,Ada\n2,Bob\n")
        yield admin, ann, directory
        admin.close()
        ann.close()


STATEMENTS = [
    "COPY (SELECT 1) TO '{dir}/out.parquet'",
    "COPY t TO '{dir}/out' STORED AS CSV",
    "COPY t FROM '{dir}/people.csv'",
    "copy anything at all",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{dir}/people.csv'",
    "CREATE UNBOUNDED EXTERNAL TABLE x (a INT) STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE OR REPLACE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "SELECT * FROM '{dir}/people.csv'",
    'SELECT * FROM "{dir}/people.csv"',
    "SELECT * FROM 'people.parquet'",
    "SELECT * FROM 'file:///etc/passwd'",
    "SELECT * FROM 's3://bucket/key.parquet'",
    "WITH x AS (SELECT * FROM '/etc/passwd') SELECT 1 FROM x",
    "INSERT INTO public.own SELECT 1 FROM '{dir}/people.csv'",
    "CREATE TABLE public.stolen AS SELECT * FROM '{dir}/people.csv'",
    "EXPLAIN SELECT * FROM '{dir}/people.csv'",
    "SET datafusion.execution.batch_size = 1",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nobody_reaches_outside(admin, alice, tmp_path, refused, statement):
    alice.rows("SELECT 1")
    admin.change("CREATE TABLE IF NOT EXISTS public.own (id BIGINT)")
    (tmp_path / "people.csv").write_text("id,name\n1,Ada\n")
    for login in (alice, admin):
        with refused("PermissionDenied") as refusal:
            login.rows(statement.format(dir=tmp_path))
        if "CREATE TABLE public.stolen" in statement and login is alice:
            continue
        assert "SET" in statement or "--allow-external" in refusal.text
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_setting_is_for_admins(outside, refused, statement):
    admin, ann, directory = outside
    admin.change("CREATE TABLE IF NOT EXISTS public.own (id BIGINT)")
    for login, text in ((ann, statement), (admin, f"EXECUTE AS USER ann ({statement})")):
        with refused("PermissionDenied"):
            login.rows(text.format(dir=directory))
    assert not list(directory.glob("out*"))


def test_copy_writes_a_file_and_a_path_reads_it(outside):
    admin, _, directory = outside
    admin.change("CREATE TABLE public.numbers AS SELECT value AS n, 'x' AS word FROM generate_series(1, 1000)")
    path = directory / "numbers.parquet"
    assert admin.change(f"COPY (SELECT n, word FROM public.numbers ORDER BY n) TO '{path}'") == 1000
    assert parquet.read_table(path).column("n").to_pylist() == list(range(1, 1001))
    assert admin.rows(f"SELECT count(*), sum(n) FROM '{path}'") == [(1000, 500500)]
    assert admin.rows(f"SELECT word FROM '{path}' WHERE n = ?", (7,)) == [("x",)]
    assert admin.change(f"COPY public.numbers TO '{directory}/numbers.csv' STORED AS CSV OPTIONS ('format.has_header' 'true')") == 1000
    assert (directory / "numbers.csv").read_text().startswith("n,word\n")
    admin.change(f"CREATE TABLE public.again AS SELECT * FROM '{directory}/numbers.csv'")
    assert admin.change(f"INSERT INTO public.again SELECT * FROM '{path}'") == 1000
    assert admin.rows("SELECT count(*) FROM public.again") == [(2000,)]


def test_external_tables_are_their_sessions_own(outside, refused):
    admin, ann, directory = outside
    admin.change(f"CREATE EXTERNAL TABLE people STORED AS CSV LOCATION '{directory}/people.csv' OPTIONS ('format.has_header' 'true')")
    assert admin.rows("SELECT name FROM people ORDER BY id") == [("Ada",), ("Bob",)]
    assert admin.rows("SELECT name FROM public.people WHERE id = 2") == [("Bob",)]
    with refused("AlreadyExists", "people"):
        admin.change(f"CREATE EXTERNAL TABLE people STORED AS CSV LOCATION '{directory}/people.csv'")
    again = Login(admin.server, "admin", ADMIN_PASSWORD)
    for other in (ann, again):
        with refused("NotFound", "people"):
            other.rows("SELECT * FROM people")
    again.close()
    with refused("NotFound", "people"):
        admin.rows("EXECUTE AS USER ann (SELECT * FROM people)")
    admin.change("DROP TABLE people")
    with refused("NotFound", "people"):
        admin.rows("SELECT name FROM people ORDER BY id")


@pytest.mark.parametrize("function", ["input_file_name", "file_row_index"])
def test_no_function_tells_where_a_row_lies(admin, alice, items, refused, function):
    alice.change(f"INSERT INTO {items} (id, name) VALUES (1, 'x')")
    admin.change(f"FLUSH TABLE {items}")
    with refused("InvalidArgument", function):
        alice.rows(f"SELECT {function}() FROM {items}")
def test_what_is_not_there_is_told(outside, refused):
    admin, _, directory = outside
    with refused("InvalidArgument"):
        admin.rows(f"SELECT * FROM '{directory}/missing.parquet'")
    with refused("InvalidArgument"):
        admin.change(f"COPY (SELECT 1 AS one) TO '{directory}/x.unknown'")
    with refused("InvalidArgument"):
        admin.change("COPY nonsense")


