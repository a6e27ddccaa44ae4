"""The mutants can be run: each finds the guard that it takes away, and names a test that there is."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "mutants" / "run.py")
runner = importlib.util.module_from_spec(spec)
sys.modules["mutants"] = runner
spec.loader.exec_module(runner)

SOURCES = "".join(
    path.read_text() for pattern in ("*/src/**/*.rs", "*/tests/**/*.rs") for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("mutant", runner.mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_guard(mutant):
    assert mutant.changed() != mutant.file.read_text()
    assert re.search(rf"fn {mutant.test}\b", SOURCES), f"no test {mutant.test}"


def test_there_are_enough():
    assert len(runner.mutants()) >= 20
