"""The cold tier in a bucket: the whole way of the rows, and what becomes of them when network and store fail."""

import random
import subprocess
import time

import pyarrow as pa
import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, Server, binary
from s3 import BUCKET, KEYS, Moto, Proxy

# Of one request; what stalls is given up after it.
TIMEOUT = 2
ROWS = 100


@pytest.fixture(scope="module")
def moto():
    with Moto() as moto:
        yield moto


class World:
    """A server whose cold tier is a prefix of its own in the bucket, behind the proxy."""

    def __init__(self, moto: Moto, proxy: Proxy, data_dir):
        self.moto, self.proxy, self.prefix = moto, proxy, f"{data_dir.parent.name}/cold"
        self.url = f"s3://{BUCKET}/{self.prefix}"
        endpoint = f"http://127.0.0.1:{proxy.port}"
        self.env = {**KEYS, "AWS_ENDPOINT": endpoint, "AWS_TIMEOUT": f"{TIMEOUT}s"}
        self.server = Server(data_dir, "--store", self.url, env=self.env)
        self.logins: list[Login] = []

    def start(self) -> None:
        self.server.start()

    def login(self, name: str, password: str) -> Login:
        self.logins.append(Login(self.server, name, password))
        return self.logins[-1]

    @property
    def admin(self) -> Login:
        return self.login("admin", ADMIN_PASSWORD)

    def setup(self, users: int = 2) -> list[Login]:
        admin = self.admin
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id BIGINT PRIMARY KEY, note TEXT)")
        for user in range(users):
            admin.change(f"CREATE USER u{user} PASSWORD 'p{user}'")
        return self.users(users)

    def users(self, users: int = 2) -> list[Login]:
        return [self.login(f"u{user}", f"p{user}") for user in range(users)]

    def restart(self) -> None:
        for login in self.logins:
            login.close()
        self.logins.clear()
        self.server.restart()

    def refused(self) -> str:
        """What a server says that does not start, soon enough."""
        command = [binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", self.server.data_dir, "--store", self.url]
        ended = subprocess.run(command, env=self.server.env | self.env, capture_output=True, text=True, timeout=90)
        assert ended.returncode != 0 and not ended.stdout, ended
        return ended.stderr

    def keys(self) -> list[str]:
        return self.moto.keys(self.prefix + "/")

    def files(self) -> list[str]:
        return [key for key in self.keys() if key.endswith(".parquet")]


@pytest.fixture
def world(moto, tmp_path):
    with Proxy(moto.port) as proxy:
        world = World(moto, proxy, tmp_path / "data")
        yield world
        proxy.pass_all()
        for login in world.logins:
            login.close()
        world.server.__exit__()


def insert(user: Login, first: int = 0) -> None:
    rows = ", ".join(f"({n}, '{user.name}')" for n in range(first, first + ROWS))
    user.change(f"INSERT INTO app.t VALUES {rows}")


def count(user: Login) -> tuple:
    return user.rows("SELECT count(*), count(DISTINCT id), min(note), max(note) FROM app.t")[0]


def holds(user: Login, rows: int) -> bool:
    return count(user) == (rows, rows, user.name, user.name)


def test_the_whole_way(world, refused, tmp_path):
    world.start()
    ann, ben = world.setup()
    # More than one part of an upload, as it does not compress.
    noise = random.Random(1)
    large = pa.table({"id": range(50_000), "note": [noise.randbytes(200).hex() for _ in range(50_000)]})
    for half in (large.slice(0, 25_000), large.slice(25_000)):
        ann.ingest("app.t", half)
    insert(ben)
    alien = f"{world.prefix.split('/')[0]}/t1/01a2085b-f8b8-757e-8ffb-a20d32e7ed41.parquet"
    world.moto.put(alien, b"another's")
    admin = world.admin
    admin.query("FLUSH TABLE app.t")
    assert sum(len(world.moto.get(key)) for key in world.files()) > 8 << 20
    assert ann.change("DELETE FROM app.t WHERE id >= 40000") == 10_000
    assert ben.change("UPDATE app.t SET note = upper(note) WHERE id = 0") == 1
    admin.query("FLUSH TABLE app.t")
    orphan = f"{world.prefix}/t1/01a2085b-f8b8-757e-8ffb-a20d32e7ed42.dv"
    world.moto.put(orphan, b"of a crash")

    world.restart()
    ann, ben = world.users()
    assert ann.query("SELECT id, note FROM app.t ORDER BY id").to_pydict() == large.slice(0, 40_000).to_pydict()
    assert ben.rows("SELECT note, count(*) FROM app.t GROUP BY note ORDER BY note") == [("U1", 1), ("u1", ROWS - 1)]
    assert orphan not in world.keys() and world.moto.get(alien) == b"another's"
    # Another database does not take the place, and a backup not a part of it.
    other = World(world.moto, world.proxy, tmp_path / "other")
    other.url = world.url
    assert "another database" in other.refused()
    admin = world.admin
    with refused("FailedPrecondition", "place of its own"):
        admin.query(f"BACKUP DATABASE TO '{world.url}/backup'")
    backup = f"s3://{BUCKET}/{world.prefix.split('/')[0]}/backup"
    taken = admin.rows(f"BACKUP DATABASE TO '{backup}'")
    with refused("AlreadyExists"):
        admin.query(f"BACKUP DATABASE TO '{backup}'")

    admin.change("DROP TABLE app.t")
    world.restart()
    assert world.keys() == [f"{world.prefix}/insula-owner"]
    other = World(world.moto, world.proxy, tmp_path / "new")
    other.url = f"{world.url}-new"
    other.server.flags = ("--store", other.url)
    other.start()
    try:
        assert other.admin.rows(f"RESTORE DATABASE FROM '{backup}'") == taken
        assert [count(user)[0] for user in other.users()] == [40_000, ROWS]
    finally:
        for login in other.logins:
            login.close()
        other.server.__exit__()


def test_a_store_that_ignores_conditions_is_refused(world):
    world.proxy.always("condition")
    said = world.refused()
    assert "If-None-Match" in said and world.url in said, said
    assert world.keys() == []
    world.proxy.pass_all()
    world.start()


def test_a_store_that_is_not_there_is_refused_in_bounded_time(world):
    world.proxy.always("stall")
    said = world.refused()
    assert world.url in said, said


@pytest.mark.parametrize("what", ["500", "503", "stall", "cut", "lose"])
def test_a_flush_meets_a_fault(world, what):
    world.start()
    ann, ben = world.setup()
    for round, n in enumerate([1, 3]):
        insert(ann, round * ROWS)
        insert(ben, round * ROWS)
        world.proxy.times(n, what, "PUT", ".parquet")
        try:
            world.admin.query("FLUSH TABLE app.t")
        except Exception as error:
            assert "Unavailable" in str(error), error
        assert all(holds(user, (round + 1) * ROWS) for user in (ann, ben))
        world.proxy.pass_all()
        world.admin.query("FLUSH TABLE app.t")
        assert all(holds(user, (round + 1) * ROWS) for user in (ann, ben))
    world.restart()
    assert all(holds(user, 2 * ROWS) for user in world.users())
    # What a lost answer has left is gone, and nothing else.
    assert len(world.files()) == 2


@pytest.mark.parametrize("what", ["500", "stall", "half", "lose"])
def test_a_read_meets_a_fault(world, what):
    world.start()
    insert(world.setup()[0])
    world.admin.query("FLUSH TABLE app.t")
    # Nothing is in the caches of a new server.
    world.restart()
    ann, ben = world.users()
    world.proxy.times(2, what, "GET", ".parquet")
    try:
        assert holds(ann, ROWS)
    except Exception as error:
        assert "Unavailable" in str(error), error
    world.proxy.pass_all()
    assert holds(ann, ROWS) and count(ben)[0] == 0


def test_while_the_store_is_away(world, refused):
    world.start()
    ann, ben = world.setup()
    insert(ann)
    world.admin.query("FLUSH TABLE app.t")
    world.restart()
    ann, ben = world.users()
    admin = world.admin
    admin.change("CREATE TABLE app.eager (id BIGINT PRIMARY KEY) WITH (flush_rows = 10)")
    world.proxy.always("stall")
    begun = time.monotonic()
    with refused("Unavailable"):
        ann.query("SELECT * FROM app.t")
    assert time.monotonic() - begun < 90
    # Fresh rows are written and read without it, and wait to be flushed.
    rows = ", ".join(f"({n})" for n in range(40))
    assert ben.change(f"INSERT INTO app.eager VALUES {rows}") == 40
    assert ben.rows("SELECT count(*) FROM app.eager") == [(40,)]
    world.proxy.pass_all()
    assert holds(ann, ROWS)
    deadline = time.monotonic() + 120
    while len(world.files()) < 2:
        assert time.monotonic() < deadline, "the flush did not resume"
        time.sleep(0.5)
    assert ben.rows("SELECT count(*) FROM app.eager") == [(40,)]
