"""Over HTTP: metrics for Prometheus, and the probes of those who start servers."""

import json
import re
import secrets
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import Login
from demo import adbc, flightsql, grpcurl
from demo.server import ADMIN_PASSWORD, Server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def value(text: str, name: str, **labels: str) -> float:
    """The sum over what has these labels."""
    found = [
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if re.match(rf"{name}[{{ ]", line) and all(f'{key}="{label}"' in line for key, label in labels.items())
    ]
    assert found, f"no {name} with {labels}"
    return sum(found)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    url = f"127.0.0.1:{free_port()}"
    with Server(tmp_path_factory.mktemp("watched") / "data", "--http-listen", url) as server:
        yield server, f"http://{url}"


def test_statements_and_what_they_cost_are_counted_without_names(watched):
    server, http = watched
    name = "user" + secrets.token_hex(6)
    admin = Login(server, "admin", ADMIN_PASSWORD)
    admin.change("CREATE NAMESPACE app")
    admin.change(f"CREATE TABLE app.t{name} (id INT PRIMARY KEY, v TEXT)")
    admin.change(f'CREATE USER "{name}" PASSWORD \'{name}\'')
    user = Login(server, name, name)
    before = get(f"{http}/metrics")[1]
    user.change(f"INSERT INTO app.t{name} VALUES (1, 'a'), (2, 'b')")
    assert len(user.rows(f"SELECT * FROM app.t{name}")) == 2
    with pytest.raises(Exception):
        user.rows("SELECT * FROM app.missing")
    with pytest.raises(Exception):
        adbc.query(adbc.connect(server.url, name, "wrong"), "SELECT 1")
    admin.change(f"FLUSH TABLE app.t{name}")
    code, text = get(f"{http}/metrics")
    assert code == 200
    assert value(text, "insula_statements_total", statement="INSERT", result="OK") == 1
    assert value(text, "insula_statements_total", statement="SELECT", result="NOT_FOUND") == 1
    assert value(text, "insula_statement_rows_total", statement="INSERT") == 2
    assert value(text, "insula_statement_seconds_count", statement="INSERT") == 1
    assert value(text, "insula_refusals_total", method="password", result="UNAUTHENTICATED") >= 1
    assert value(text, "insula_logins_total", method="password") >= 2
    assert value(text, "insula_jobs_total", job="flush", result="done") >= 1
    assert value(text, "insula_job_rows_total", job="flush") >= 2
    assert value(text, "insula_object_requests_total", request="write") > 0
    assert value(text, "insula_sessions") >= 2 and value(text, "insula_tables") == 1
    assert value(text, "process_resident_memory_bytes") > 1 << 20
    assert value(text, "process_cpu_seconds_total") >= value(before, "process_cpu_seconds_total")
    assert value(text, "insula_rocksdb_block_cache_bytes") > 0
    assert value(text, "insula_memory_limit_bytes") > value(text, "insula_memory_reserved_bytes") >= 0
    assert value(text, "insula_computing_statements_limit") >= 1 and value(text, "insula_queued_statements") == 0
    assert value(text, "insula_spill_limit_bytes") > value(text, "insula_spilled_bytes") == 0
    assert value(text, "insula_transactions") == 0
    assert value(text, "insula_refused_statements_total") == 0
    with user.flight() as client:
        client.action("BeginTransaction", flightsql.command("ActionBeginTransactionRequest"))
        assert value(get(f"{http}/metrics")[1], "insula_transactions") == 1
    assert name not in text, "the metrics name a user or a table"
    # Each is described, and every description is of a type.
    described = set(re.findall(r"^# HELP (insula_\w+)", text, re.M))
    told = {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"^(insula_\w+)", text, re.M)}
    assert {n for n in told if not n.startswith("insula_rocksdb") and n != "insula_build_info"} <= described
    admin.close()
    user.close()


def test_probes(watched):
    _, http = watched
    assert get(f"{http}/healthz") == (200, "ok\n")
    assert get(f"{http}/readyz") == (200, "ready\n")
    assert get(f"{http}/nothing")[0] == 404


def watch(address: str, service: str) -> subprocess.Popen:
    asked = ["-plaintext", "-d", json.dumps({"service": service}), address, "grpc.health.v1.Health/Watch"]
    return subprocess.Popen([grpcurl.program(), *asked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def status(watched: subprocess.Popen) -> str:
    """The next one that a watch tells; nothing at its end."""
    told = (re.search(r'"status": "(\w+)"', line) for line in watched.stdout)
    return next((found.group(1) for found in told if found), "")


def test_a_draining_server_lives_and_is_not_ready(tmp_path):
    url = f"127.0.0.1:{free_port()}"
    with Server(tmp_path / "data", "--http-listen", url, "--drain-timeout", "60s") as server:
        user = Login(server, "admin", ADMIN_PASSWORD)

        endless = (
            "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b "
            "WHERE a.value * b.value % 7 = 3"
        )
        connection, ended = user.connect(), []
        services = ["", "arrow.flight.protocol.FlightService", "insula.v1.Admin"]
        watches = [watch(server.address, service) for service in services]
        for watched in watches:
            assert status(watched) == "SERVING"

        def ask():
            try:
                adbc.script(connection, endless)
            except Exception as error:
                ended.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        deadline = time.monotonic() + 30
        while not value(get(f"http://{url}/metrics")[1], "insula_running_statements"):
            assert time.monotonic() < deadline, "the statement does not run"
        server.process.terminate()
        while get(f"http://{url}/readyz") != (503, "draining\n"):
            assert time.monotonic() < deadline, "the server does not say that it drains"
        assert get(f"http://{url}/healthz")[0] == 200
        for watched in watches:
            assert status(watched) == "NOT_SERVING"
        server.kill()
        for watched in watches:
            watched.communicate()
        asking.join()
        assert ended
        user.close()


def test_without_the_setting_nothing_listens(server):
    assert "metrics on http" not in server.log.read_text()
