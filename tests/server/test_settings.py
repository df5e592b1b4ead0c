"""Settings: precedence, origins, and errors that name the setting."""

from pathlib import Path

import pytest

from modelyard import server, settings
from modelyard.domain.errors import Invalid


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "modelyard.toml").write_text('[server]\nport = 1000\nhost = "127.0.0.2"\ndomain = "a.test"\n')
    environ = {"MODELYARD_SERVER__PORT": "2000", "MODELYARD_SERVER__HOST": "127.0.0.3"}
    loaded = settings.load(tmp_path, environ, {"server.port": 3000})
    assert (loaded.settings.server.port, loaded.settings.server.host) == (3000, "127.0.0.3")
    assert loaded.settings.server.domain == "a.test"
    assert loaded.origins["server.port"] == "flag"
    assert loaded.origins["server.host"] == "environment"
    assert loaded.origins["server.domain"] == "modelyard.toml"
    assert loaded.origins["store.url"] == "default"


@pytest.mark.parametrize(
    ("file", "environ", "named"),
    [
        ("[server]\nprot = 1\n", {}, "server.prot"),
        ("[server]\nport = 'x'\n", {}, "server.port"),
        ("[sever]\nport = 1\n", {}, "sever"),
        ("", {"MODELYARD_LIMITS__TASKS": "many"}, "limits.tasks"),
        ("port = 1\n", {}, "port"),
        ("[server\n", {}, "modelyard.toml"),
        ("", {"MODELYARD_SERVER__PORT": "eighty"}, "server.port"),
        ("", {"MODELYARD_SERVER__PROT": "80"}, "server.prot"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, file: str, environ: dict[str, str], named: str) -> None:
    (tmp_path / "modelyard.toml").write_text(file)
    with pytest.raises(Invalid, match=named):
        settings.load(tmp_path, environ, {})


def test_flags_that_were_not_given_change_nothing(tmp_path: Path) -> None:
    assert settings.load(tmp_path, {}, {"server.port": None}).settings.server.port == 8080


def test_the_home_comes_from_the_environment() -> None:
    assert settings.home({"MODELYARD_HOME": "/data/my"}) == Path("/data/my")


def test_every_setting_has_a_value_and_a_name() -> None:
    assert set(settings.values(settings.Settings())) == set(settings.names())


def test_what_makes_no_sense_is_said_before_anything_starts(tmp_path: Path) -> None:
    environ = {
        "MODELYARD_HOME": str(tmp_path),
        "MODELYARD_KUBERNETES__CACHE_SIZE": "lots",
        "MODELYARD_SCALING__TIME_ZONE": "Mars/Olympus",
    }
    with pytest.raises(Invalid, match=r"scaling.time_zone: .*; kubernetes.cache_size: 'lots' is not an"):
        server.run(environ, {}, on_ready=lambda url, link: None)
