"""What the documentation says of the tests is true: each test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ("tests/**/*.py", "tests/**/*.rs", "engine/tests/*.rs", "tests/**/*.go", "tests/**/*.java", "tests/node/*.js", "scripts/grpcurl.sh")


def cells(page: str) -> list[str]:
    """Names in backticks in the cells of the table of calls, but for its first column and for what drivers call theirs."""
    section = page.split("## Which call works from which driver")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    found = [name for row in rows for cell in row.split("|")[2:] for name in re.findall("`([^`]+)`", cell)]
    return [name for name in found if name not in ("prepare", "commit", "rollback", "close", "getTypeInfo")]


def test_every_test_that_the_table_of_calls_names_is_there():
    sources = "".join(path.read_text() for pattern in TESTS for path in ROOT.glob(pattern) if path != Path(__file__))
    # The validation suite is not a part of the repository; its tests are named as its own.
    page = re.sub("validation: (`[^`]+`(, )?)+", "", (ROOT / "docs" / "clients.md").read_text())
    missing = [
        name for name in cells(page)
        if not re.search(rf'(def|fn|func|void) {re.escape(name)}\b|(test\(|expect )"{re.escape(name)}"', sources)
    ]  # fmt: skip
    assert not missing


def test_every_test_that_the_threat_model_names_is_there():
    model = (ROOT / "docs" / "security.md").read_text().split("## Threat model")[1].split("\n## ")[0]
    rows = [line for line in model.splitlines() if line.startswith("|")]
    names = {name for row in rows for name in re.findall("`([a-z][a-z_0-9]+)`", row.rsplit("|", 2)[1])}
    names |= set(re.findall(r"`([a-z]+(?:_[a-z]+){3,})`", model))
    assert len(names) > 30
    sources = "".join(path.read_text() for pattern in ("*/src/**/*.rs", "*/tests/**/*.rs", *TESTS) for path in ROOT.glob(pattern))
    assert not [name for name in names if not re.search(rf"(def|fn) {re.escape(name)}\b", sources)]
