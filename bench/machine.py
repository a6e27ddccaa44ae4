"""What the figures depend on beside the programs: the machine, its disk, and whoever else uses it."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from bench.rounds import percentile


def facts(directory: Path) -> dict[str, str]:
    return {
        "processor": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} threads",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _file_system(directory: Path) -> str:
    """The type of the mount that holds the directory."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, point, kind, *_ = line.split()
        inside = str(directory.resolve()).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, f"{kind} on {device}")
    return best[1]


def sync_latency(directory: Path, times: int = 200) -> float:
    """Median milliseconds of appending 4 KiB and waiting for the disk: no durable write can be faster."""
    path = directory / "sync-probe"
    block, took = os.urandom(4096), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1e3)
    path.unlink()
    return percentile(took, 0.5)


def write_speed(directory: Path, megabytes: int) -> float:
    """MB/s of writing a file from end to end in blocks of 1 MiB, fsync included: what the disk gives at best."""
    path, block = directory / "write-probe", os.urandom(1 << 20)
    started = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(block)
        os.fsync(file.fileno())
    took = time.perf_counter() - started
    path.unlink()
    return megabytes * (1 << 20) / 1e6 / took


def busy(seconds: float = 1.0) -> float:
    """The share of all processors that is used right now, by anyone."""
    before, after = _ticks(), None
    time.sleep(seconds)
    after = _ticks()
    total = sum(after) - sum(before)
    idle = after[3] + after[4] - before[3] - before[4]
    return 1 - idle / total if total else 0.0


def _ticks() -> list[int]:
    return [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def directory_bytes(directory: Path) -> tuple[int, int]:
    """Files below a directory and the bytes in them. Files may vanish meanwhile."""
    files = size = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                size += os.lstat(os.path.join(root, name)).st_size
                files += 1
            except FileNotFoundError:
                pass
    return files, size


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used, in user and kernel; ended children too."""
    own = sum(int(ticks) for ticks in _stat(pid)[11:15])
    living = sum(int(stat[11]) + int(stat[12]) for _, stat in _children(pid))
    return (own + living) / os.sysconf("SC_CLK_TCK")


def halves() -> tuple[set[int], set[int]]:
    """The processors in two, for a server and its clients; where there is one only, both have it."""
    every = sorted(os.sched_getaffinity(0))
    half = len(every) // 2
    return set(every[:half] or every), set(every[half:])


def place(pid: int, processors: set[int]) -> None:
    """Lets a process and its children run on these processors only."""
    for process in (pid, *(child for child, _ in _children(pid))):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), processors)


def _children(pid: int) -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = _stat(int(entry.name))
                if int(stat[1]) == pid:
                    yield int(entry.name), stat


def _stat(pid: int) -> list[str]:
    """The fields behind the program's name, which may hold spaces: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Memory:
    """The resident memory of a process, now and at its highest since the last `reset`."""

    def __init__(self, pid: int):
        self.proc = Path(f"/proc/{pid}")

    def reset(self) -> None:
        (self.proc / "clear_refs").write_text("5")

    def megabytes(self) -> tuple[float, float]:
        """Now, highest."""
        status = self.proc / "status"
        return tuple(int(_field(str(status), name).split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
