"""The floor: a bare arrow-flight server with constant batches from memory (flight-server/examples/floor.rs)."""

import os
import subprocess
from pathlib import Path

from bench.engines.insula import Adbc, Flight
from demo.server import READY, binary

ROOT = Path(__file__).resolve().parent.parent.parent


class Floor:
    name = "Floor"

    def __enter__(self) -> "Floor":
        build = ["cargo", "build", "--quiet", "--release", "--workspace", "--example", "floor"]
        subprocess.run(build, cwd=ROOT, check=True)
        program = Path(os.environ.get("BUILD_FLOOR", binary().parent / "examples" / "floor"))
        self.process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        ready = READY.match(self.process.stdout.readline().rstrip("\n"))
        if not ready:
            raise RuntimeError("the floor server did not start")
        self.url = ready.group(1)
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def client(self, tenant: str) -> Adbc:
        return Adbc(self.url, tenant)

    def raw_client(self, tenant: str) -> Flight:
        return Flight(self.url, tenant)
