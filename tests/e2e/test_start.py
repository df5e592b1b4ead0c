"""Starting where one must not, or cannot: a clear word and an exit code, never a traceback."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.support.platform import Running
from tests.support.ports import free_port


def up(home: Path, *flags: str) -> tuple[int, str]:
    """Run `modelyard up` until it ends by itself."""
    running = Running(home)
    command = [sys.executable, "-m", "modelyard", "up", *flags]
    done = subprocess.run(
        command, env=running.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert running.processes() == []
    return done.returncode, done.stderr


def test_listening_beyond_loopback_is_refused_while_nobody_has_a_password(tmp_path: Path) -> None:
    code, said = up(tmp_path / "home", "--host", "0.0.0.0", "--port", str(free_port()))
    assert code == 6
    assert "--insecure" in said


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = up(tmp_path / "home", "--port", str(port))
    assert code == 1
    assert str(port) in said
    assert "--port" in said


def test_a_second_platform_on_the_same_data_directory_is_refused(platform: Running) -> None:
    code, said = _second(platform)
    assert code == 7
    assert "already runs" in said


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "modelyard.toml").write_text("[server]\nprot = 8080\n")
    code, said = up(home)
    assert code == 2
    assert "server.prot" in said


def _second(platform: Running) -> tuple[int, str]:
    command = [sys.executable, "-m", "modelyard", "up", "--port", str(free_port())]
    done = subprocess.run(
        command, env=platform.environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr
