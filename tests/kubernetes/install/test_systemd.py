"""The platform as a service of one machine: a unit that systemd takes, and who is told of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from modelyard.cli.app import app
from modelyard.domain.errors import Conflict, Invalid
from modelyard.installing import systemd
from modelyard.installing.systemd import Service

ODD = Path('/srv/my "models" 100% $HOME')
HERE = Service(python=Path(sys.executable), home=ODD, user="daemon")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, and a `systemctl` that writes down what it was told."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "told"


def call(*words: str, code: int = 0) -> Result:
    found = CliRunner().invoke(app, words)
    assert found.exit_code == code, found.output
    return found


def written(told: Path) -> Path:
    return told.parent / "config/systemd/user/modelyard.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
@pytest.mark.parametrize("service", [HERE, Service(python=HERE.python, home=ODD, is_personal=True)])
def test_systemd_finds_nothing_wrong_with_the_unit(service: Service, tmp_path: Path) -> None:
    path = tmp_path / systemd.NAME
    path.write_text(systemd.unit(service))
    how = ["--user"] if service.is_personal else []
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", *how, "verify", "--man=no", str(path)],
        capture_output=True, text=True, env=environ, check=False,
    )  # fmt: skip
    mine = [line for line in (done.stdout + done.stderr).splitlines() if "modelyard" in line]
    assert (done.returncode, mine) == (0, [])


def test_only_the_control_plane_is_told_to_end_and_it_comes_back_after_a_crash() -> None:
    lines = systemd.unit(HERE).splitlines()
    assert {"KillMode=process", "Restart=on-failure", "User=daemon", "WantedBy=multi-user.target"} <= {*lines}
    assert 'Environment="MODELYARD_HOME=/srv/my \\"models\\" 100%% $HOME"' in lines
    assert f'ExecStart="{sys.executable}" -m modelyard up' in lines


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (Service(python=HERE.python, home=Path("data")), "--data: must be an absolute path"),
        (Service(python=HERE.python, home=Path("/a\nb")), "--data: must be an absolute path"),
        (Service(python=HERE.python, home=ODD, user="a b"), "--as: 'a b' is no name of a user"),
        (Service(python=HERE.python, home=ODD, user="me", is_personal=True), "--as: a unit of your own"),
    ],
)
def test_what_no_unit_can_say_is_refused(service: Service, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        systemd.unit(service)


def test_a_unit_is_installed_kept_changed_and_removed(told: Path) -> None:
    printed = call("render", "systemd", "--user", "--data", "/srv/a").output
    call("install", "systemd", "--user", "--data", "/srv/a")
    assert written(told).read_text() == printed
    assert told.read_text().splitlines() == [
        "--user daemon-reload", "--user enable --now modelyard.service",
        "--user try-restart modelyard.service",
    ]  # fmt: skip
    told.unlink()
    assert "found as it should be" in call("install", "systemd", "--user", "--data", "/srv/a").output
    assert "try-restart" not in told.read_text(), "what runs is left alone"
    told.unlink()
    call("install", "systemd", "--user", "--data", "/srv/b", "--no-start")
    assert told.read_text() == "--user daemon-reload\n"
    call("uninstall", "systemd", "--user")
    assert not written(told).exists()
    assert "disable --now modelyard.service" in told.read_text()
    assert "there is no" in call("uninstall", "systemd", "--user").output


def test_a_unit_of_somebody_else_is_left_alone(told: Path) -> None:
    written(told).parent.mkdir(parents=True)
    written(told).write_text("[Service]\n")
    with pytest.raises(Conflict, match="was not written by Modelyard"):
        systemd.write(written(told), systemd.unit(HERE))
    for verb in ("install", "uninstall"):
        said = CliRunner().invoke(
            app, [verb, "systemd", "--user", "--data", "/srv/a"][: 5 if verb == "install" else 3]
        )
        assert isinstance(said.exception, Conflict)
    assert written(told).read_text() == "[Service]\n"
    assert not told.exists(), "nor is it stopped"


@pytest.mark.parametrize(
    "words", [["render", "systemd"], ["install", "systemd"], ["install", "systemd", "--data", "/srv/a"]]
)
def test_a_user_who_is_not_there_is_named(told: Path, words: list[str]) -> None:
    said = CliRunner().invoke(app, [*words, "--as", "nobodyy"], env={"MODELYARD_HOME": None})
    assert not told.exists()
    assert isinstance(said.exception, Invalid)
    assert str(said.exception).startswith("--as: there is no user 'nobodyy' here")


def test_a_systemd_that_does_not_run_is_told_with_its_words(told: Path) -> None:
    program = told.parent / "bin/systemctl"
    program.write_text("#!/bin/sh\necho 'System has not been booted with systemd' >&2\nexit 1\n")
    said = call("install", "systemd", "--user", "--data", "/srv/a", code=1).output
    assert "systemd was not told: systemctl --user daemon-reload: System has not been booted" in said
    assert written(told).exists()


def test_a_dollar_is_doubled_in_commands_only() -> None:
    made = systemd.unit(Service(python=Path("/opt/a$b/bin/python"), home=Path("/srv/my$home/100%")))
    assert 'ExecStart="/opt/a$$b/bin/python" -m modelyard up' in made
    assert 'Environment="MODELYARD_HOME=/srv/my$home/100%%"' in made


@pytest.mark.parametrize("user", ["john.doe", "svc@corp.example", "machine$", "my-svc_1"])
def test_users_of_a_directory_service_are_taken(user: str) -> None:
    made = systemd.unit(Service(python=Path("/usr/bin/python3"), home=Path("/srv/my"), user=user))
    assert f"User={user}\n" in made


@pytest.mark.parametrize("user", ["-x", "a b", "a\nExecStart=x", "a:b", "a/b", "$a", "%u", ".."])
def test_what_is_no_users_name_is_refused(user: str) -> None:
    with pytest.raises(Invalid, match="is no name of a user"):
        systemd.unit(Service(python=Path("/usr/bin/python3"), home=Path("/srv/my"), user=user))
