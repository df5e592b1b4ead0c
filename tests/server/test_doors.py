"""What the front door calls itself over TLS, and what its certificate names."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.composing import doors
from modelyard.control import system
from modelyard.control.certificate_files import CA_FILE, Keyring
from modelyard.domain.errors import Unavailable
from modelyard.settings import Backend, Kubernetes, Server, Settings

NOW = 1_800_000_000.0


def in_a_pod(**server: Any) -> Settings:
    return Settings(
        backend=Backend(kind="kubernetes"),
        kubernetes=Kubernetes(routers=True, account="modelyard"),
        server=Server(host="0.0.0.0", https_port=8443, **server),
    )


def test_the_certificate_names_what_clients_are_told(tmp_path: Path) -> None:
    found = doors.tls(
        tmp_path,
        in_a_pod(public_url="https://ML.example.org:30443/", domain="my.test"),
        machines=("203.0.113.9", "192.0.2.10", ""),
    )
    assert found is not None
    assert {"ml.example.org", "203.0.113.9", "192.0.2.10", "my.test", "localhost"} <= set(found.hosts)
    found = doors.tls(tmp_path, in_a_pod(public_url="https://[fd00::1]"))
    assert found is not None
    assert "fd00::1" in found.hosts


def test_a_new_pod_needs_no_new_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = []
    for pod in ("modelyard-1-a", "modelyard-1-b"):
        monkeypatch.setattr(doors.os, "uname", lambda pod=pod: SimpleNamespace(nodename=pod))
        found = doors.tls(tmp_path, in_a_pod())
        assert found is not None
        issued.append(Keyring(found.directory, found.name).issued(found.hosts, now=NOW))
        assert pod not in found.hosts
    assert issued[0] == issued[1]
    here = doors.tls(tmp_path, Settings(server=Server(https_port=8443)))
    assert here is not None
    assert "modelyard-1-b" in here.hosts, "on a machine its name is what clients call it by"


def test_two_control_planes_write_the_same_files_at_once(tmp_path: Path) -> None:
    directory, trouble = tmp_path / "tls", []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                Keyring(directory, "modelyard").issued((f"{number}-{turn}.test",), now=NOW)
        except (Unavailable, OSError) as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert trouble == []
    known = Keyring(directory, "modelyard").authority(now=NOW)
    assert (directory / CA_FILE).read_text() == known.chain, "clients trust the authority that is used"
    assert {path.name for path in directory.iterdir()} == {"authority.json", "issued.json", CA_FILE}
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("public", "port", "found"),
    [
        ("http://ml.example.org", 30443, "https://ml.example.org:30443"),
        ("http://ml.example.org:30080", 30443, "https://ml.example.org:30443"),
        ("http://[fd00::1]", 30443, "https://[fd00::1]:30443"),
        ("https://ml.example.org", 30443, "https://ml.example.org"),
        ("https://ml.example.org", 0, "https://ml.example.org"),
        ("http://ml.example.org", 0, ""),
    ],
)
def test_the_address_over_tls_is_one_that_can_be_opened(public: str, port: int, found: str) -> None:
    platform: Any = SimpleNamespace(public_url=public, outside=SimpleNamespace(https_port=port))
    assert system._https_url(platform) == found
