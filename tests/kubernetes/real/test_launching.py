"""API servers out of a directory: with which flags they start, who may ask them, and how they end."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.support.apiserver import standin
from tests.support.apiserver.launching import Launched, NotStarted, launched, trusting


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    return standin.made(tmp_path / "assets")


def of(home: Path) -> list[psutil.Process]:
    """What runs with this directory among its words."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in each.info["cmdline"] or ()):
            found.append(each)
    return found


def ask(there: Launched, path: str, context: ssl.SSLContext) -> int:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(there.url + path, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_who_has_the_certificate_may_ask_and_nothing_is_left_afterwards(assets: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with launched(assets, home) as there:
        assert len(of(home)) == 2
        assert ask(there, "/api/v1/namespaces", trusting(there.papers)) == 200
        nobody = ssl.create_default_context(cafile=str(there.papers.authority))
        assert ask(there, "/readyz", nobody) == 200
        assert ask(there, "/api/v1/namespaces", nobody) == 401
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(there, "/readyz", ssl.create_default_context())
        keys = [*there.papers.directory.glob("*.key"), there.kubeconfig]
        assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert of(home) == []


def test_two_servers_know_nothing_of_each_other(assets: Path, tmp_path: Path) -> None:
    with launched(assets, tmp_path / "one") as one, launched(assets, tmp_path / "two") as two:
        assert one.url != two.url
        with pytest.raises(urllib.error.URLError):
            ask(one, "/readyz", trusting(two.papers))


def test_a_flag_that_there_is_not_is_said_and_nothing_is_left(assets: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        pytest.raises(NotStarted, match=r"kube-apiserver ended with 1.*\n.*unknown flag: --insecure-port"),
        launched(assets, home, flags={"insecure-port": "8080"}),
    ):
        pass
    assert of(home) == []


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("authorization-mode", "Roles", "Roles is not a valid value"),
        ("client-ca-file", "/nowhere", "No such file"),
        ("service-account-issuer", "", "must be specified"),
        ("etcd-servers", "http://127.0.0.1:1", "refused"),
    ],
)
def test_values_that_it_would_not_start_with_are_said(
    assets: Path, tmp_path: Path, flag: str, value: str, said: str
) -> None:
    with pytest.raises(NotStarted, match=said), launched(assets, tmp_path / "home", flags={flag: value}):
        pass


def test_a_directory_without_programs_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="no etcd and no kube-apiserver: `setup-envtest"):
        launched(tmp_path, tmp_path / "home").__enter__()
    (tmp_path / "kube-apiserver").touch(mode=0o755)
    with pytest.raises(NotStarted, match="has no etcd: "):
        launched(tmp_path, tmp_path / "home").__enter__()


def test_a_program_that_cannot_run_is_said(assets: Path, tmp_path: Path) -> None:
    (assets / "etcd").chmod(0o644)
    with pytest.raises(NotStarted, match="etcd cannot be run"):
        launched(assets, tmp_path / "home").__enter__()
