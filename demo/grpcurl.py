"""Insula through grpcurl: no driver at all, only reflection, JSON and base64."""

import base64
import json
import os
import shutil
import subprocess

import pyarrow as pa

from demo import flightsql

FLIGHT = "arrow.flight.protocol.FlightService/"


def program() -> str:
    cached = os.environ.get("GRPCURL", os.path.expanduser("~/.cache/insula/bin/grpcurl"))
    found = cached if os.path.exists(cached) else shutil.which("grpcurl")
    if not found:
        raise SystemExit("grpcurl is missing: run `make setup` first")
    return found


def basic(user: str, password: str) -> str:
    return "authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def run(address: str, *arguments: str, headers: tuple[str, ...] = (), data: dict | None = None):
    """The finished process, for a caller who expects a refusal too."""
    command = [program(), "-plaintext", "-max-time", "30"]
    for header in headers:
        command += ["-H", header]
    if data is not None:
        command += ["-d", json.dumps(data)]
    return subprocess.run([*command, address, *arguments], capture_output=True, text=True)


def call(address: str, *arguments: str, headers: tuple[str, ...] = (), data: dict | None = None) -> str:
    done = run(address, *arguments, headers=headers, data=data)
    if done.returncode:
        raise RuntimeError(f"grpcurl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def documents(text: str) -> list[dict]:
    """grpcurl prints the messages of a stream one after the other."""
    decoder, position, found = json.JSONDecoder(), 0, []
    while position < len(text.rstrip()):
        document, position = decoder.raw_decode(text, position)
        found.append(document)
        while position < len(text) and text[position].isspace():
            position += 1
    return found


def query(address: str, sql: str, header: str) -> pa.Table:
    """GetFlightInfo and DoGet, and the Arrow IPC messages put together again."""
    body = flightsql.command("CommandStatementQuery", {1: sql})
    descriptor = {"type": "CMD", "cmd": base64.b64encode(body).decode()}
    info = json.loads(call(address, FLIGHT + "GetFlightInfo", headers=(header,), data=descriptor))
    tables = []
    for endpoint in info["endpoint"]:
        replies = documents(call(address, FLIGHT + "DoGet", headers=(header,), data=endpoint["ticket"]))
        tables.append(table(replies))
    return pa.concat_tables(tables)


def table(messages: list[dict]) -> pa.Table:
    stream = b""
    for message in messages:
        header = base64.b64decode(message.get("dataHeader", ""))
        if header:
            header += b"\0" * (-len(header) % 8)
            body = base64.b64decode(message.get("dataBody", ""))
            stream += b"\xff\xff\xff\xff" + len(header).to_bytes(4, "little") + header + body
    return pa.ipc.open_stream(stream).read_all()
