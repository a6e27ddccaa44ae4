"""A bucket of a real S3 server, moto's, and a proxy in front of it that fails as networks and stores fail."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import boto3

BUCKET = "insula-test"
KEYS = {
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
}


class Moto:
    """The S3 server as a process of its own, with one bucket."""

    def __enter__(self) -> "Moto":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found.group(1))
                break
        else:
            raise RuntimeError("moto ended before it listened")
        # Or its log fills the pipe, and it stops.
        self.log = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.log.start()
        self.client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", aws_access_key_id="key", aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        self.log.join(30)
        self.process.stderr.close()

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def key(self) -> str:
        return self.path.split("?")[0].removeprefix(f"/{BUCKET}/")


# What becomes of a request: None lets it pass.
#   "500", "503"   the store says so, and does nothing
#   "stall"        the store does nothing, and never answers
#   "cut"          the connection ends in the middle of the request's body
#   "lose"         the store does it, and the connection ends before the answer
#   "half"         the connection ends in the middle of the answer's body
#   "condition"    the store never sees If-None-Match
Fault = Callable[[Request], str | None]


class Proxy:
    """Forwards HTTP to a port, one request per connection; `fault` may be set at any time."""

    def __init__(self, port: int):
        self.upstream = port
        self.fault: Fault = lambda request: None
        self.requests: list[Request] = []
        self.loop = asyncio.new_event_loop()

    def __enter__(self) -> "Proxy":
        started = threading.Event()

        async def run():
            self.end = asyncio.Event()
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self.end.wait()
            server.close()
            # Some may still stall.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            # Transports close in the loop's next turns.
            await asyncio.sleep(0.1)

        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(run()), daemon=True)
        self.thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join(30)
        self.loop.close()

    def times(self, n: int, what: str, method: str, suffix: str = "") -> None:
        """The next `n` requests of a method, for keys that end so, fare like that."""
        left = iter(range(n))

        def fault(request: Request) -> str | None:
            fits = request.method == method and request.key.endswith(suffix)
            return what if fits and next(left, None) is not None else None

        self.fault = fault

    def always(self, what: str) -> None:
        self.fault = lambda request: what

    def pass_all(self) -> None:
        self.fault = lambda request: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.forward(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        request = Request(method, path, headers)
        self.requests.append(request)
        length = int(headers.get("content-length", 0))
        fault = self.fault(request)
        if fault == "cut":
            await reader.readexactly(length // 2)
            return
        body = await reader.readexactly(length)
        if fault == "stall":
            await asyncio.sleep(600)
        if fault in ("500", "503"):
            writer.write(f"HTTP/1.1 {fault} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if fault == "condition":
            headers.pop("if-none-match", None)
        answer = await self.ask(first, {**headers, "connection": "close"}, body)
        if fault == "lose":
            return
        writer.write(answer[: -(len(answer.split(b"\r\n\r\n", 1)[1]) + 1) // 2] if fault == "half" else answer)
        await writer.drain()

    async def ask(self, first: str, headers: dict[str, str], body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"{first}\r\n{head}\r\n".encode("latin-1") + body)
            await writer.drain()
            # The other side closes: it was asked to.
            return await reader.read()
        finally:
            writer.close()
