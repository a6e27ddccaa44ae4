"""One run of the harness: its scale, its directory, and what it prints."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SCALES = ("tiny", "small", "full")


@dataclass
class Run:
    scale: str
    # On the disk that is measured.
    home: Path
    rounds: int | None = None

    def pick(self, tiny, small, full):
        return {"tiny": tiny, "small": small, "full": full}[self.scale]

    def count(self) -> int:
        """How many rounds."""
        return self.rounds or self.pick(2, 5, 5)

    def say(self, text: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')}  {text}", flush=True)

    @contextmanager
    def directory(self, name: str) -> Iterator[Path]:
        """For one workload, removed after it. Other accounts may pass through: PostgreSQL does not run as root."""
        path = Path(tempfile.mkdtemp(prefix=f"insula-bench-{name}-", dir=self.home))
        path.chmod(0o711)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
