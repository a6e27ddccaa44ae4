"""Clients in processes of their own, so that neither Python's lock nor a driver is shared among them.

A client is anything that can be pickled and has `open`, `step` and `close`; the processes live through all rounds."""

import contextlib
import multiprocessing
import os
import time
import traceback
from array import array

from bench.rounds import Figures, percentile

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once for all of them. Modules only: a driver's threads, started before a fork, would be lost in it.
_CONTEXT.set_forkserver_preload(["bench.workloads"])


class Crowd:
    def __init__(self, clients: list):
        self.members = []
        for client in clients:
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_live, args=(theirs, client), daemon=True)
            process.start()
            theirs.close()
            self.members.append((process, ours))

    def __enter__(self) -> "Crowd":
        self._answers()
        return self

    def pids(self) -> list[int]:
        return [process.pid for process, _ in self.members]

    def run(self, seconds: float) -> Figures:
        """All clients step for that long; milliseconds and steps per second."""
        for _, pipe in self.members:
            pipe.send(seconds)
        took, longest = array("d"), 0.0
        for latencies, elapsed in self._answers():
            took.frombytes(latencies)
            longest = max(longest, elapsed)
        return {
            "p50": percentile(took, 0.5),
            "p99": percentile(took, 0.99),
            "per second": len(took) / longest,
            "steps": len(took),
        }

    def _answers(self) -> list:
        answers = []
        for process, pipe in self.members:
            try:
                answer = pipe.recv()
            except EOFError:
                raise RuntimeError(f"a client ended by itself, exit code {process.exitcode}") from None
            if isinstance(answer, str):
                raise RuntimeError(f"a client failed:\n{answer}")
            answers.append(answer)
        return answers

    def __exit__(self, *_) -> None:
        for _, pipe in self.members:
            # It may have ended already.
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process, _ in self.members:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _live(pipe, client) -> None:
    try:
        client.open()
        client.step()
        pipe.send(None)
        while (seconds := pipe.recv()) is not None:
            pipe.send(_steps(client, seconds))
        client.close()
    except (EOFError, KeyboardInterrupt):
        os._exit(1)  # The harness is gone.
    except Exception:
        pipe.send(traceback.format_exc())


def _steps(client, seconds: float) -> tuple[bytes, float]:
    took = array("d")
    now = started = time.perf_counter()
    while now - started < seconds:
        client.step()
        before, now = now, time.perf_counter()
        took.append((now - before) * 1e3)
    return took.tobytes(), now - started
