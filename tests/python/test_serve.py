"""The process: how it starts, refuses to start, and ends."""

import os
import stat
import subprocess

import pytest

from conftest import Login
from demo.server import ADMIN_PASSWORD, READY, Server, binary


def refuse(*flags: str, env: dict | None = None) -> str:
    """Runs `insula serve` with settings it must not start with; what it says."""
    listen = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
    command = [binary(), "serve", *listen, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
    assert done.returncode != 0 and "listening" not in done.stdout
    return done.stderr


def test_sigterm_drains_and_exits_with_zero(tmp_path):
    server = Server(tmp_path / "data").start()
    assert READY.match(f"insula listening on {server.url}")
    assert server.stop() == 0


def test_a_second_server_on_the_directory_is_refused(server):
    said = refuse("--data-dir", str(server.data_dir))
    assert str(server.process.pid) in said and str(server.data_dir) in said


def test_unknown_configuration_keys_are_named(tmp_path):
    config = tmp_path / "insula.toml"
    config.write_text('listem = "127.0.0.1:0"\n')
    assert "listem" in refuse("--config", str(config), "--data-dir", str(tmp_path / "data"))
    assert f"configuration file {tmp_path / 'none.toml'}: No such file" in refuse("--config", str(tmp_path / "none.toml"))
    assert not (tmp_path / "data").exists()


def test_flag_beats_environment_beats_file(tmp_path):
    config = tmp_path / "insula.toml"
    config.write_text(f'data-dir = "{tmp_path / "of-the-file"}"\n'.replace("data-dir", "data_dir"))
    with Server(
        tmp_path / "of-the-flag", "--config", str(config), env={"INSULA_DATA_DIR": str(tmp_path / "of-the-env")}
    ):
        assert (tmp_path / "of-the-flag").exists()
    assert not (tmp_path / "of-the-file").exists() and not (tmp_path / "of-the-env").exists()


@pytest.mark.parametrize("flags", [["--dev"], ["--trust-user-header", "x-user"]], ids=["dev", "trusted header"])
def test_open_doors_are_for_loopback_only(tmp_path, flags):
    assert "loopback" in refuse(*flags, "--listen", "0.0.0.0:0", "--data-dir", str(tmp_path / "data"))


def test_a_random_admin_password(tmp_path):
    server = Server(tmp_path / "data")
    del server.env["INSULA_ADMIN_PASSWORD"]
    with server:
        path = tmp_path / "data" / "admin-password"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        password = path.read_text().strip()
        assert len(password) >= 16 and password not in server.log.read_text()
        admin = Login(server, "admin", password)
        assert admin.rows("SELECT CURRENT_USER") == [("admin",)]
        admin.close()


def test_everything_survives_kill_9(tmp_path):
    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        admin.change("CREATE NAMESPACE app")
        admin.change("CREATE TABLE app.t (id INT PRIMARY KEY, v TEXT DEFAULT 'x')")
        admin.change("CREATE USER u PASSWORD 'p'")
        user = Login(server, "u", "p")
        for i in range(3):
            user.change(f"INSERT INTO app.t (id) VALUES ({i})")
        admin.close()
        user.close()
        server.restart()
        assert user.rows("SELECT * FROM app.t ORDER BY id") == [(0, "x"), (1, "x"), (2, "x")]
        assert admin.rows("SELECT count(*) FROM app.t") == [(0,)]
        # A bearer token of the old process is worth nothing; the password is.
        user.close()
        admin.close()


def test_an_old_bearer_token_ends_with_the_process(tmp_path):
    import pyarrow.flight as flight

    with Server(tmp_path / "data") as server:
        admin = Login(server, "admin", ADMIN_PASSWORD)
        options = admin.flight().options
        server.restart()
        with flight.FlightClient(server.url.replace("grpc://", "grpc+tcp://")) as client:
            with pytest.raises(flight.FlightUnauthenticatedError):
                list(client.list_actions(options))
        admin.close()


def test_the_store_is_locked_until_the_end(tmp_path):
    server = Server(tmp_path / "data").start()
    server.kill()
    # A kill leaves no lock behind.
    assert server.start().stop() == 0
