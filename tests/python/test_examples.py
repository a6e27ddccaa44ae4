"""The examples of `clients/examples` say what they should, each run as its first lines tell a newcomer to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import grpcurl
from demo.server import ADMIN_PASSWORD

EXAMPLES = Path(__file__).parents[2] / "clients" / "examples"
JAR = Path.home() / ".m2/repository/org/apache/arrow/flight-sql-jdbc-driver/18.3.0/flight-sql-jdbc-driver-18.3.0.jar"
GRACE = "Grace is 85"


@pytest.fixture(autouse=True)
def no_people(admin):
    admin.change("DROP TABLE IF EXISTS public.people")


def run(server, folder: str, *command) -> list[str]:
    """What it prints. A toolchain that is missing fails by its name."""
    settings = {"INSULA_URL": server.url, "INSULA_USER": "admin", "INSULA_PASSWORD": ADMIN_PASSWORD}
    environment = os.environ | settings | {"GRPCURL": grpcurl.program()}
    done = subprocess.run(command, cwd=EXAMPLES / folder, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def twice(server, folder: str, *command) -> list[str]:
    """A newcomer runs an example again, and nothing of the first time may stand in the way."""
    first = run(server, folder, *command)
    assert run(server, folder, *command) == first
    return first


def test_python_adbc(server):
    lines = ["2 rows written", GRACE, "2 rows ingested", "234 years by pandas", "234 years by polars"]
    assert twice(server, "python", sys.executable, "-W", "error", "adbc.py") == lines


def test_python_flight(server):
    assert twice(server, "python", sys.executable, "-W", "error", "flight.py") == [GRACE]


def test_java(server):
    assert JAR.exists(), f"{JAR} is missing: run `make setup` first"
    assert run(server, "java", "java", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", JAR, "People.java") == [GRACE]


def test_go(server):
    assert twice(server, "go", "go", "run", ".") == ["2 rows written", GRACE]


def test_node(server):
    assert (EXAMPLES / "node" / "node_modules").exists(), "node's packages are missing: run `make setup` first"
    assert twice(server, "node", "node", "people.js") == [GRACE]


def test_grpcurl(server):
    assert twice(server, "grpcurl", "./people.sh") == ["Grace"]
