"""Limits per user: each is an error of its own statement, names the way out, and leaves the neighbours alone."""

import re
import subprocess
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from conftest import Login

from demo import flightsql
from demo.server import ADMIN_PASSWORD, Server, binary
from test_tickets import close, prepare

# Rows by the million, made from nothing: a join without a key.
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
MANY_ROWS = "SELECT value, repeat('x', 200) AS text FROM generate_series(1, 10000000)"
FLAGS = ["--user-concurrency", "2", "--concurrency", "3", "--user-queue", "2", "--queue-timeout", "20s"]
FLAGS += ["--memory-limit", "256MB", "--user-memory-limit", "32MB", "--user-spill-limit", "8MB"]
FLAGS += ["--max-result-bytes", "4MB"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A server whose limits are near, with two users."""
    with Server(tmp_path_factory.mktemp("narrow") / "data", *FLAGS) as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        for name in ("ann", "bob"):
            admin.change(f"CREATE USER {name} PASSWORD 'secret {name}'")
        admin.close()
        yield server


@pytest.fixture
def people(narrow):
    """Ann and Bob of that server."""
    logins = [Login(narrow, name, f"secret {name}") for name in ("ann", "bob")]
    yield logins
    for login in logins:
        login.close()


class Background:
    """A statement on a connection of its own, until it ends or is killed."""

    def __init__(self, login: Login, sql: str):
        self.client, self.sql, self.error = login.flight(), sql, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: self.sql}))
        try:
            # Chunk by chunk, for pyarrow takes a `read_all` that is cancelled for an interrupt of the whole program.
            for _ in self.client.flight.do_get(ticket, self.client.options):
                pass
        except Exception as error:
            self.error = error

    def end(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def states(login: Login) -> list[str]:
    """Of the endless joins of a user."""
    return [state for (state,) in login.rows("SELECT state FROM system.queries WHERE text LIKE 'SELECT count%'")]


def until(what) -> None:
    """Waits for something that happens by itself."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def kill_all(login: Login) -> None:
    for (query,) in login.rows("SELECT query_id FROM system.queries WHERE text LIKE 'SELECT count%'"):
        login.change(f"KILL QUERY '{query}'")


def test_heavy_statements_wait_in_line_and_light_ones_do_not(people, refused):
    ann, bob = people
    running = [Background(ann, ENDLESS) for _ in range(4)]
    until(lambda: sorted(states(ann)) == ["queued", "queued", "running", "running"])
    with refused("ResourceExhausted", "--user-queue", "--user-concurrency"):
        ann.rows(ENDLESS)
    # What is light takes no slot, and others have theirs.
    assert ann.rows("SELECT 1") == [(1,)]
    assert bob.rows("SELECT count(*) FROM generate_series(1, 1000)") == [(1000,)]
    until(lambda: (kill_all(ann), states(ann) == [])[1])
    for statement in running:
        statement.end()
        assert isinstance(statement.error, flight.FlightCancelledError), statement.error


def test_waiting_counts_towards_the_time_of_a_statement(people):
    ann, bob = people
    running = [Background(ann, ENDLESS) for _ in range(2)]
    until(lambda: states(ann) == ["running", "running"])
    client = ann.flight()
    options = flight.FlightCallOptions(headers=[client.bearer], timeout=0.5)
    ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: ENDLESS}))
    with pytest.raises(flight.FlightTimedOutError):
        client.flight.do_get(ticket, options).read_all()
    until(lambda: states(ann) == ["running", "running"])
    assert bob.rows("SELECT count(*) FROM generate_series(1, 10)") == [(10,)]
    kill_all(ann)
    [statement.end() for statement in running]


def test_the_audit_tells_a_time_limit_from_a_cancel(people):
    ann, _ = people
    text = ENDLESS.replace("(*)", "(*) AS limited")

    def results() -> list[str]:
        told = f"SELECT result FROM system.audit WHERE statement = 'SELECT' AND text = '{text}' ORDER BY at"
        return [result for (result,) in ann.rows(told)]

    client = ann.flight()
    options = flight.FlightCallOptions(headers=[client.bearer], timeout=1.0)
    ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: text}))
    with pytest.raises(flight.FlightTimedOutError):
        client.flight.do_get(ticket, options).read_all()
    until(lambda: results() == ["DEADLINE_EXCEEDED"])
    running = Background(ann, text)
    until(lambda: states(ann) == ["running"])
    kill_all(ann)
    running.end()
    until(lambda: results() == ["DEADLINE_EXCEEDED", "CANCELLED"])


def test_who_does_not_read_holds_no_slot(people):
    ann, _ = people
    client, stalled = ann.flight(), []
    ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: MANY_ROWS}))
    for _ in range(5):
        stalled.append(client.flight.do_get(ticket, client.options))
        stalled[-1].read_chunk()
    assert ann.rows("SELECT count(*) FROM generate_series(1, 1000)") == [(1000,)], "five stand still, and two may run"
    [reader.cancel() for reader in stalled]


def test_streams_that_nobody_reads_are_bounded(tmp_path):
    limit = 256_000_000
    with Server(tmp_path / "data", "--memory-limit", str(limit), "--user-memory-limit", "48MB") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        for name in ("ann", "bob"):
            admin.change(f"CREATE USER {name} PASSWORD 'secret {name}'")
        ann, bob = (Login(server, name, f"secret {name}") for name in ("ann", "bob"))
        clients, streams, refusals = [ann.flight() for _ in range(5)], [], []
        ticket = flight.Ticket(flightsql.command("CommandStatementQuery", {1: MANY_ROWS}))

        def read(stream) -> None:
            try:
                stream.read_chunk()
            except Exception as error:
                refusals.append(str(error))

        for n in range(100):
            client = clients[n % len(clients)]
            streams.append(client.flight.do_get(ticket, client.options))
            read(streams[-1])
        # Several messages of two megabytes are made for each; who is refused hears of it behind what was made before.
        until(lambda: refusals or [read(stream) for stream in streams] and refusals)
        assert all("--user-memory-limit" in refusal for refusal in refusals), refusals[:3]
        assert len(refusals) < len(streams), "some are served"
        began = time.monotonic()
        assert bob.rows("SELECT 1") == [(1,)] and time.monotonic() - began < 5
        resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
        assert int(resident[1]) * 1024 < limit * 5 / 4, resident
        for stream in streams:
            stream.cancel()
        counted = "SELECT count(*) FROM generate_series(1, 1000000)"
        until(lambda: bob.rows(counted) == ann.rows(counted))
        [login.close() for login in (admin, ann, bob)]


def test_the_memory_of_a_user_is_not_the_memory_of_all(people, refused):
    ann, bob = people
    held = "SELECT count(*) FROM (SELECT array_agg(value) AS held FROM generate_series(1, {})) WHERE cardinality(held) > 0"
    with refused("ResourceExhausted", "your statements", "--user-memory-limit"):
        ann.rows(held.format(20_000_000))
    assert bob.rows(held.format(1_000)) == [(1,)]
    assert ann.rows(held.format(1_000)) == [(1,)], "what was refused holds nothing"


def test_bound_parameters_are_memory_of_their_user(people):
    ann, bob = people
    rows = pa.record_batch([pa.array(["x" * 1_000_000] * 4)], ["p"])

    def bind(client: flightsql.Client, handle: bytes) -> None:
        client.put(flightsql.command("CommandPreparedStatementQuery", {1: handle}), rows.schema, [rows])

    mine, theirs, bound = ann.flight(), bob.flight(), []
    with pytest.raises(Exception, match="--user-memory-limit"):
        for _ in range(12):
            handle = prepare(mine, "SELECT length($1)")
            bind(mine, handle)
            bound.append(handle)
    assert 4 <= len(bound) <= 8, "of 32 MB, four each"
    bind(theirs, prepare(theirs, "SELECT length($1)"))
    # What is let go can be had again; small ones always can.
    assert ann.rows("SELECT length(?)", ("small",)) == [(5,)]
    close(mine, bound.pop())
    bind(mine, handle)
    [close(mine, each) for each in [*bound, handle]]


def test_long_texts_are_planned_in_turn(people, refused):
    ann, bob = people
    long = f"SELECT 1 -- {'x' * 100_000}"
    running = [Background(ann, ENDLESS) for _ in range(4)]
    until(lambda: sorted(states(ann)) == ["queued", "queued", "running", "running"])
    with refused("ResourceExhausted", "--user-queue"):
        ann.rows(long)
    with refused("ResourceExhausted", "--user-queue"):
        ann.change(f"INSERT INTO nowhere VALUES ('{'x' * 100_000}')")
    assert ann.rows("SELECT 1") == [(1,)] and bob.rows(long) == [(1,)]
    until(lambda: (kill_all(ann), states(ann) == [])[1])
    [statement.end() for statement in running]
    assert ann.rows(long) == [(1,)]


def test_what_a_text_is_parsed_to_is_memory_of_its_user(people, refused):
    ann, bob = people
    with refused("ResourceExhausted", "the text of a statement", "--user-memory-limit"):
        ann.rows("SELECT " + ", ".join(["1"] * 100_000))
    assert ann.rows(f"SELECT length('{'x' * 1_000_000}')") == [(1_000_000,)], "a long value is one word"
    assert bob.rows(f"SELECT 1 IN ({', '.join(map(str, range(15_000)))})") == [(True,)]


def test_temporary_files_of_a_user_are_bounded(people, refused):
    ann, bob = people
    grouped = "SELECT count(*) FROM (SELECT concat('k', value) AS k FROM generate_series(1, {}) GROUP BY k)"
    with refused("ResourceExhausted", "temporary files", "--user-spill-limit"):
        ann.rows(grouped.format(3_000_000))
    assert bob.rows(grouped.format(1_000)) == [(1_000,)]


def test_a_result_is_bounded(people, refused):
    ann, bob = people
    with refused("ResourceExhausted", "--max-result-bytes"):
        ann.rows(MANY_ROWS)
    assert bob.rows("SELECT 1") == [(1,)]
    assert len(ann.rows("SELECT value FROM generate_series(1, 1000)")) == 1000


def test_the_limits_are_settings_that_can_be_seen(narrow):
    admin = Login(narrow, "admin", ADMIN_PASSWORD)
    settings = dict(admin.rows("SELECT name, value FROM system.settings"))
    admin.close()
    assert settings["user_concurrency"] == "2", settings
    assert settings["user_memory_limit"].startswith("3"), settings
    assert settings["user_ingest_rate"] == "0 B", settings
    assert "user_queue=2 queue_timeout=20s" in narrow.log.read_text()


def test_limits_that_rest_on_others_are_told_as_they_are(server, admin):
    settings = dict(admin.rows("SELECT name, value FROM system.settings"))
    assert int(settings["concurrency"]) == 2 * int(settings["user_concurrency"]), settings
    assert settings["user_memory_limit"].endswith("iB"), settings


@pytest.mark.parametrize("flags", [["--user-concurrency", "0"], ["--user-memory-limit", "1MB"], ["--queue-timeout", "0s"]])
def test_limits_under_which_nothing_could_run_are_refused(tmp_path, flags):
    done = subprocess.run([binary(), "serve", "--data-dir", tmp_path / "data", *flags], capture_output=True, text=True)
    assert done.returncode != 0
    assert flags[0].strip("-").replace("-", "_") in done.stderr, done.stderr


def test_a_row_found_by_its_key_keeps_to_the_size_of_results_too(narrow, people, refused):
    admin = Login(narrow, "admin", ADMIN_PASSWORD)
    admin.change("CREATE TABLE cells (id BIGINT PRIMARY KEY, v TEXT)")
    admin.close()
    ann, _ = people
    ann.change("INSERT INTO cells VALUES (1, 'small'), (2, repeat('x', 5000000))")
    # From its second run on a statement of the same text is read without a plan.
    for _ in range(3):
        assert ann.rows("SELECT v FROM cells WHERE id = 1") == [("small",)]
        with refused("ResourceExhausted", "--max-result-bytes"):
            ann.rows("SELECT v FROM cells WHERE id = 2")


# Each would make gigabytes of a few bytes, in one call or one batch.
GROWING = [
    "SELECT range(1, 10000000000)",
    "SELECT count(*) FROM (SELECT unnest(range(1, 100000)) FROM generate_series(1, 8192))",
    "SELECT replace(repeat('a', 2000000), 'a', repeat('b', 2000))",
    "SELECT regexp_replace(repeat('a', 1000000), 'a', repeat('b', 5000), 'g')",
    "SELECT sha256(repeat('a', 2000000000))",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT string_agg(repeat('x', 1000000), '') FROM generate_series(1, 3000)",
    "SELECT array_agg(repeat('x', 1000000)) FROM generate_series(1, 3000)",
    "SELECT repeat('x', value * 1000) FROM generate_series(1, 8192)",
]


def test_functions_that_make_much_of_little_stay_within_the_limit(tmp_path, refused):
    limit = 512_000_000
    with Server(tmp_path / "data", "--memory-limit", str(limit)) as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        for sql in GROWING:
            with refused("ResourceExhausted", "--user-memory-limit"):
                admin.rows(sql)
            assert admin.rows("SELECT 1") == [(1,)], sql
        together = [Background(admin, sql) for sql in GROWING]
        [statement.end() for statement in together]
        assert all("--user-memory-limit" in str(statement.error) for statement in together)
        most = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
        assert int(most[1]) * 1024 < limit * 5 / 4, most
        assert admin.rows("SELECT length(repeat('x', 1000)), cardinality(range(1, 1000000))") == [(1000, 999999)]
        admin.close()
