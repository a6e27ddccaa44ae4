"""The server as a child process: started, waited for by its readiness line, killed, started again."""

import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path

ADMIN_PASSWORD = "correct horse battery staple"
READY = re.compile(r"^insula listening on (grpc(?:\+tls)?://(\S+:\d+))$")


def binary() -> Path:
    target = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/insula/target"))
    path = Path(os.environ.get("BUILD_BIN", f"{target}/release/insula"))
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `make build` first")
    return path


class Server:
    """One data directory and, while it runs, the process that serves it. Each start takes a free port."""

    def __init__(self, data_dir: Path, *flags: str, log: Path | None = None, env: dict[str, str] | None = None):
        self.data_dir = Path(data_dir)
        self.flags = flags
        self.log = Path(log or f"{data_dir}.log")
        self.env = {"INSULA_ADMIN_PASSWORD": ADMIN_PASSWORD, **(env or {})}
        self.process: subprocess.Popen | None = None
        self.url = self.address = ""

    def start(self, timeout: float = 60.0) -> "Server":
        command = [binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", self.data_dir, *self.flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **self.env}
            )
        line = self._first_line(timeout)
        match = READY.match(line)
        if not match:
            self.kill()
            raise RuntimeError(f"the server did not get ready, it said {line!r}; its log ends:\n{self.log_tail()}")
        self.url, self.address = match.group(1), match.group(2)
        return self

    def _first_line(self, timeout: float) -> str:
        deadline, line = time.monotonic() + timeout, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
                byte = os.read(self.process.stdout.fileno(), 1)
                if not byte:
                    break
                line += byte
        return line.decode(errors="replace").rstrip("\n")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, closed or said."""
        self._end(signal.SIGKILL)

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM, timeout)

    def _end(self, how: int, timeout: float = 30.0) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()

    def restart(self) -> "Server":
        self.kill()
        return self.start()

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_) -> None:
        if self.process is not None:
            self.kill()
