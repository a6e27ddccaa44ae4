"""PostgreSQL with row-level security: the usual way to keep many users' rows in one table, each to themselves.

The tenant is a setting of the connection, the policy compares it with a column that leads the primary key. The column
is COLLATE "C": under another collation the policy's comparison could not use the index of it."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa

from bench.data.table import Source, Table
from bench.machine import directory_bytes

# What its manual recommends for a machine of its own; no more than 4 GB, which holds all that is measured.
QUARTER = min(4096, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20)
SETTINGS = {
    "shared_buffers": f"{QUARTER}MB",
    "effective_cache_size": f"{3 * QUARTER}MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "effective_io_concurrency": "200",
    "max_connections": "64",
    "fsync": "on",
    "synchronous_commit": "on",
}
BLOCK = 1 << 20


def program(name: str) -> str:
    """From PATH or from where Debian keeps them, the newest."""
    homes = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(homes[-1]) if homes else shutil.which(name)
    if not found:
        raise SystemExit(f"PostgreSQL's {name} is missing: apt-get install postgresql")
    return found


class Postgres:
    name = "PostgreSQL"

    def __init__(self, directory: Path):
        self.home = directory / "postgres"
        self.log = directory / "postgres.log"
        self.password = secrets.token_urlsafe(16)
        self.process: subprocess.Popen | None = None
        # initdb refuses to run as root.
        self.owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self._open: dict[str, psycopg.Connection] = {}

    def __enter__(self) -> "Postgres":
        self.home.mkdir()
        if self.owner:
            shutil.chown(self.home, "postgres", "postgres")
        word = self.home.with_suffix(".password")
        word.write_text(self.password)
        word.chmod(0o600)
        if self.owner:
            shutil.chown(word, "postgres")
        initdb = [program("initdb"), "--pgdata", self.home / "data", "--username", "owner", "--pwfile", word]
        initdb += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=self.home, **self.owner)
        self._start()
        with self._connect("owner", None) as connection:
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{self.password}' NOSUPERUSER NOBYPASSRLS")
            connection.execute("GRANT TEMPORARY ON DATABASE postgres TO app")
        return self

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = SETTINGS | {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        command = [program("postgres"), "-D", self.home / "data"]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, **self.owner
            )
        ready = [program("pg_isready"), "--host", "127.0.0.1", "--port", str(self.port), "--timeout", "1", "--quiet"]
        while subprocess.run(ready).returncode:
            if self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start; its log: {self.log.read_text()[-2000:]}")

    def __exit__(self, *_) -> None:
        self.disconnect()
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: at once, all its processes.
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def disconnect(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _string(self, role: str) -> str:
        return f"host=127.0.0.1 port={self.port} dbname=postgres user={role} password={self.password}"

    def _connect(self, role: str, tenant: str | None) -> psycopg.Connection:
        options = {"options": f"-c app.tenant={tenant}"} if tenant is not None else {}
        return psycopg.connect(self._string(role), autocommit=True, **options)

    def connection(self, tenant: str | None, role: str = "app") -> psycopg.Connection:
        """Of the tenant under the policy, or of the owner, whom policies do not bind."""
        key = f"{role} {tenant}"
        if key not in self._open:
            self._open[key] = self._connect(role, tenant)
        return self._open[key]

    @staticmethod
    def version() -> str:
        said = subprocess.run([program("postgres"), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split(")", 1)[-1].strip() if "(Post" in said.stdout else said.stdout.split()[2]

    @staticmethod
    def settings() -> str:
        return ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())

    def create(self, table: Table) -> None:
        owner, key = self.connection(None, "owner"), ", ".join(("tenant", *table.key))
        for sql in (
            f"""CREATE TABLE {table.name} ({table.columns()},
                tenant TEXT COLLATE "C" NOT NULL DEFAULT current_setting('app.tenant'), PRIMARY KEY ({key}))""",
            f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY",
            f"""CREATE POLICY own_rows ON {table.name} USING (tenant = current_setting('app.tenant'))
                WITH CHECK (tenant = current_setting('app.tenant'))""",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.name} TO app",
        ):
            owner.execute(sql)

    def drop(self, table: Table) -> None:
        self.connection(None, "owner").execute(f"DROP TABLE {table.name}")

    def load(self, source: Source, tenant: str) -> None:
        """COPY as the owner: the fastest way in, which a tenant under row-level security does not have."""
        self._copy(self.connection(tenant, "owner"), source, source.table.name)

    def load_as_tenant(self, source: Source, tenant: str) -> None:
        """COPY into a temporary table, then INSERT … SELECT: COPY itself is refused under row-level security."""
        connection, names = self.connection(tenant), ", ".join(source.table.schema.names)
        with connection.transaction():
            connection.execute(f"CREATE TEMPORARY TABLE incoming ({source.table.columns()}) ON COMMIT DROP")
            self._copy(connection, source, "incoming")
            connection.execute(f"INSERT INTO {source.table.name} ({names}) SELECT {names} FROM incoming")

    @staticmethod
    def _copy(connection: psycopg.Connection, source: Source, target: str) -> None:
        names = ", ".join(source.table.schema.names)
        with open(source.csv(), "rb") as file, connection.cursor() as cursor:
            with cursor.copy(f"COPY {target} ({names}) FROM STDIN (FORMAT csv)") as copy:
                while block := file.read(BLOCK):
                    copy.write(block)

    def settle(self, table: Table) -> None:
        """What autovacuum would have done by and by."""
        owner = self.connection(None, "owner")
        owner.execute(f"VACUUM (ANALYZE) {table.name}")
        owner.execute("CHECKPOINT")

    def query(self, sql: str, tenant: str) -> list[tuple]:
        return self.connection(tenant).execute(sql).fetchall()

    def client(self, tenant: str) -> "Client":
        return Client(self._string("app"), tenant)

    def disk(self) -> int:
        """Tables and indexes, without the log."""
        return directory_bytes(self.home / "data" / "base")[1]


@dataclass
class Client:
    """psycopg with statements prepared on the server."""

    string: str
    tenant: str

    def open(self) -> "Client":
        self.connection = psycopg.connect(
            self.string, autocommit=True, options=f"-c app.tenant={self.tenant}", cursor_factory=psycopg.RawCursor
        )
        return self

    def change(self, sql: str, schema: pa.Schema) -> Callable[[tuple], None]:
        cursor = self.connection.cursor()
        return lambda row: cursor.execute(sql, row, prepare=True)

    def select(self, sql: str, schema: pa.Schema) -> Callable[[tuple], list[tuple]]:
        cursor = self.connection.cursor()
        return lambda row: cursor.execute(sql, row, prepare=True).fetchall()

    def close(self) -> None:
        self.connection.close()
