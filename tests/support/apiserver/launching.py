"""Starts `etcd` and `kube-apiserver` of a directory, as `setup-envtest use -p path` leaves them."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.apiserver import papers
from tests.support.apiserver.papers import Papers
from tests.support.ports import free_port

_START_SECONDS = 60.0
_END_SECONDS = 20.0
_LAST_WORDS = 3000
"""Characters of a log that a failure shows."""


class NotStarted(AssertionError):
    """A program of the assets did not come up; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Launched:
    """An API server that answers."""

    url: str
    papers: Papers
    kubeconfig: Path
    """Of whoever may do everything."""


@contextlib.contextmanager
def launched(assets: Path, home: Path, *, flags: Mapping[str, str] | None = None) -> Iterator[Launched]:
    """An API server with its data below `home`, until the block ends; `flags` are more of its flags."""
    missing = [name for name in ("etcd", "kube-apiserver") if not (assets / name).is_file()]
    if missing:
        raise NotStarted(
            f"{assets} has no {' and no '.join(missing)}: `setup-envtest use -p path` brings both"
        )
    own = papers.made(home / "papers", now=datetime.now(UTC))
    client, peers, secure = free_port(), free_port(), free_port()
    store, url = f"http://127.0.0.1:{client}", f"https://127.0.0.1:{secure}"
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(running(assets / "etcd", etcd_flags(home, client, peers), home))
        _wait(etcd, f"{store}/health", None)
        chosen = {**apiserver_flags(home, own, secure, store), **(flags or {})}
        server = stack.enter_context(running(assets / "kube-apiserver", chosen, home))
        _wait(server, f"{url}/readyz", trusting(own))
        yield Launched(url, own, own.kubeconfig(url))


def etcd_flags(home: Path, client: int, peers: int) -> dict[str, str]:
    """What etcd is told."""
    return {
        "data-dir": str(home / "etcd"),
        "listen-client-urls": f"http://127.0.0.1:{client}",
        "advertise-client-urls": f"http://127.0.0.1:{client}",
        "listen-peer-urls": f"http://127.0.0.1:{peers}",
        "unsafe-no-fsync": "true",
    }


def apiserver_flags(home: Path, own: Papers, port: int, store: str) -> dict[str, str]:
    """What the API server is told: rights by roles, users by certificates, and no ServiceAccount admission.

    That plug-in would refuse pods until a controller made an account in their namespace, which nobody does.
    """
    certificate, key = own.pair("server")
    public, private = own.accounts
    return {
        "etcd-servers": store,
        "cert-dir": str(home / "apiserver"),
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-private-key-file": str(key),
        "client-ca-file": str(own.authority),
        "authorization-mode": "RBAC",
        "disable-admission-plugins": "ServiceAccount",
        "service-account-issuer": f"https://127.0.0.1:{port}/",
        "service-account-key-file": str(public),
        "service-account-signing-key-file": str(private),
        "service-cluster-ip-range": "10.0.0.0/24",
        "allow-privileged": "true",
    }


@dataclass(frozen=True, slots=True)
class Program:
    """One that was started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_LAST_WORDS:]


@contextlib.contextmanager
def running(program: Path, flags: Mapping[str, str], home: Path) -> Iterator[Program]:
    """The program until the block ends, with its log beside its data."""
    log = home / f"{program.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(program), *(f"--{name}={value}" for name, value in flags.items())]
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=home)
        except OSError as error:
            raise NotStarted(f"{program} cannot be run: {error}") from None
    try:
        yield Program(program.name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(program: Program, url: str, context: ssl.SSLContext | None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    said = "nothing"
    # A proxy of this machine leads elsewhere.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    opener = urllib.request.build_opener(*handlers)
    while time.monotonic() < deadline:
        code = program.process.poll()
        if code is not None:
            raise NotStarted(f"{program.name} ended with {code}; it said last:\n{program.last_words()}")
        try:
            with opener.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            said = str(error)
        time.sleep(0.05)
    raise NotStarted(f"{program.name}: {url} says {said}; it said last:\n{program.last_words()}")


def trusting(own: Papers) -> ssl.SSLContext:
    """Connections as the owner of the client certificate."""
    context = ssl.create_default_context(cafile=str(own.authority))
    context.load_cert_chain(*map(str, own.pair("client")))
    return context
