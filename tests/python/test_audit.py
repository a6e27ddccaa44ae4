"""The audit's files: what is written down, what never is, and how much is kept."""

import json
import stat
import uuid
from pathlib import Path

import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, Server


def entries(directory: Path) -> list[dict]:
    """All that is written down, the oldest first."""

    def age(path: Path) -> int:
        middle = path.name.removeprefix("audit.").removesuffix("jsonl").strip(".")
        return int(middle) if middle else 1 << 60

    paths = sorted(directory.glob("audit*.jsonl"), key=age)
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def everything(directory: Path) -> str:
    return "\n".join(path.read_text() for path in directory.rglob("*.jsonl"))


def test_what_is_written_down_and_what_never_is(tmp_path):
    secret, value, bound = (uuid.uuid4().hex for _ in range(3))
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id INT PRIMARY KEY, v TEXT)")
        admin.change(f"CREATE USER ann PASSWORD '{secret}'")
        ann = Login(server, "ann", secret)
        ann.change(f"INSERT INTO app.t VALUES (1, '{value}')")
        ann.change("INSERT INTO app.t VALUES (?, ?)", [(2, bound)])
        assert len(ann.rows(f"SELECT * FROM app.t WHERE v <> '{value}x'")) == 2
        with pytest.raises(Exception):
            admin.change(f"ALTER USER ann PASSWORD '{secret}' AND '{secret}'")
        with pytest.raises(Exception):
            ann.rows(f"SELECT '{value}' FROM app.missing")
        admin.change("DROP TABLE app.t")
        server.kill()
        directory = server.data_dir / "audit"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "audit.jsonl").stat().st_mode) == 0o600
        text = everything(directory)
        # A kill loses nothing that has changed a definition or a user.
        done = [(e["statement"], e["result"]) for e in entries(directory) if e["kind"] == "statement"]
        for statement in ["CREATE", "USER", "DROP", "INSERT"]:
            assert (statement, "OK") in done, done
        assert ("SELECT", "NOT_FOUND") in done
        assert "CREATE USER ann PASSWORD '***'" in text
        for never in (secret, value, bound, ADMIN_PASSWORD):
            assert never not in text, "a secret or a value of a row is in the audit"
        assert secret not in server.log.read_text() and value not in server.log.read_text()
        admin.close()
        ann.close()


def test_texts_are_written_down_where_the_settings_say_so_but_no_secrets(tmp_path):
    value, bound, secret = (uuid.uuid4().hex for _ in range(3))
    with Server(tmp_path / "data", "--audit-text", "--audit-dir", str(tmp_path / "elsewhere")) as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change(f"CREATE USER ann PASSWORD '{secret}'")
        ann = Login(server, "ann", secret)
        assert ann.rows(f"SELECT '{value}'") == [(value,)]
        assert ann.rows("SELECT ?", (bound,)) == [(bound,)]
        admin.close()
        ann.close()
        assert server.stop() == 0
        text = everything(tmp_path / "elsewhere")
        assert value in text and bound not in text and secret not in text
        server.start()
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.rows("DROP USER ann ERASE")
        assert value not in everything(tmp_path / "elsewhere"), "an erased user's literals are still there"
        admin.close()


def test_files_are_bounded_in_size_and_number(tmp_path):
    with Server(tmp_path / "data", "--audit-file-size", "16KiB", "--audit-files", "3") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        for n in range(150):
            admin.change(f"CREATE NAMESPACE n{n}")
        files = list((server.data_dir / "audit").iterdir())
        assert len(files) == 3 and all(file.stat().st_size <= 16 << 10 for file in files), files
        kept = [e["tables"][0] for e in entries(server.data_dir / "audit") if e.get("statement") == "CREATE"]
        assert kept[-1] == "n149" and kept == [f"n{n}" for n in range(150 - len(kept), 150)]
        server.restart()
        again = Login(server, "admin", ADMIN_PASSWORD)
        newest = again.rows("SELECT tables FROM system.audit WHERE statement = 'CREATE' ORDER BY at DESC LIMIT 1")
        assert newest == [("n149",)], "a start knows the newest entries"
        admin.close()
        again.close()
