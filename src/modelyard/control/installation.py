"""What an installation keeps beside its records: lock, keys, administrator's token, log, its address."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import logging.handlers
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.control import login, tokens, users
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor
from modelyard.domain.errors import Conflict, Unauthenticated, Unavailable
from modelyard.store import Database, meta
from modelyard.store import users as user_store

SERVER_FILE = "server.json"
TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file, not a secret
ADMINISTRATOR = "admin"
_KEY_FILE = "master-key"
_IDENTITY = "installation"
_LONGEST_SOCKET_DIRECTORY = 50
_SHORTER = "set XDG_RUNTIME_DIR or a shorter --data-dir"
_LOG_BYTES = 16 * 1024 * 1024


def prepare(home: Path) -> None:
    """Make the data directory, for this user only. Raises Unavailable when it cannot be made."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"{home} cannot be used ({error.strerror}); "
            "set MODELYARD_HOME or --data-dir to a directory you may write"
        ) from None


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Be the only control plane of this data directory. Raises Conflict that names the other one."""
    with (home / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "?"
            raise Conflict(
                f"Modelyard already runs on {home} (process {holder}); "
                "stop it, or give this one another --data-dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def log_to(home: Path) -> None:
    """Send the control plane's log to a file of the data directory, one JSON document a line."""
    handler = logging.handlers.RotatingFileHandler(
        home / "logs" / "control-plane.log", maxBytes=_LOG_BYTES, backupCount=3, delay=True
    )
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a full disk must not end in a traceback on the terminal
    for noisy in ("httpx2", "httpcore2", "uvicorn", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def socket_directory(home: Path) -> Path:
    """Where Unix sockets go: in the data directory, or where the path is short enough for a socket.

    Raises Unavailable for a place that is somebody else's, or cannot be made.
    """
    chosen = _place_of_sockets(home)
    # Others may lay links where everybody may write; what is in the data directory is its owner's affair.
    is_laid = home not in chosen.parents and chosen.is_symlink()
    try:
        if not is_laid:
            chosen.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable(f"{chosen} cannot be made: {error.strerror}; {_SHORTER}") from None
    if is_laid or chosen.stat().st_uid != os.getuid():
        raise Unavailable(f"{chosen} belongs to somebody else; {_SHORTER}")
    chosen.chmod(0o700)
    return chosen


def _place_of_sockets(home: Path) -> Path:
    near = home / "run"
    name = f"modelyard-{os.getuid()}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"
    bases = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir())
    places = (near, *(Path(base) / name for base in bases if base))
    short = (place for place in places if len(str(place)) <= _LONGEST_SOCKET_DIRECTORY)
    return next(short, Path("/tmp") / name)  # noqa: S108 - it must be ours, which is looked at


def master_key(home: Path) -> bytes:
    """The key that services' tokens are derived from; made at the first start."""
    path = home / _KEY_FILE
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text().strip())


async def identity(database: Database, new_id: Callable[[], str]) -> str:
    """Which installation this is: an id that its database has from the first start on, and its copies."""
    async with database.begin() as tx:
        known = await meta.get(tx, _IDENTITY)
        if known is None:
            known = new_id()
            await meta.set(tx, _IDENTITY, known)
    return known


def keys(home: Path) -> dict[str, str]:
    """The master key and the administrator's token, as far as they were made, by the names of their files."""
    paths = (home / _KEY_FILE, home / TOKEN_FILE)
    return {path.name: path.read_text().strip() for path in paths if path.exists()}


def keep_keys(home: Path, known: Mapping[str, str]) -> None:
    """Have the keys that are kept elsewhere, instead of one's own."""
    for name in (_KEY_FILE, TOKEN_FILE):
        if known.get(name) and keys(home).get(name) != known[name]:
            _write_private(home / name, known[name])


async def administrator_token(platform: Platform, home: Path) -> str:
    """The token that the command line on this machine uses; made anew when it is missing or not valid."""
    path = home / TOKEN_FILE
    if path.exists():
        known = path.read_text().strip()
        with contextlib.suppress(Unauthenticated):
            await login.authenticate(platform, known)
            return known
    await users.ensure_administrator(platform, ADMINISTRATOR)
    request = tokens.TokenRequest(description="command line on this machine")
    issued = await tokens.issue(platform, None, ADMINISTRATOR, request)
    _write_private(path, issued.secret)
    return issued.secret


async def login_link(platform: Platform, token: str) -> str:
    """A URL that logs the administrator's browser in once."""
    actor: Actor = await login.authenticate(platform, token)
    return (await login.make_link(platform, actor)).url


async def has_passwords(platform: Platform) -> bool:
    """Whether at least one administrator must give a password."""
    async with platform.database.read() as tx:
        page = await user_store.list(tx, limit=1000)
        return any(
            [user.administrator and await user_store.password_hash(tx, user.name) for user in page.items]
        )


async def answers(url: str) -> bool:
    """Whether the control plane answers through the front door."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET /readyz HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n".encode())
        status = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status


def write_server_file(home: Path, url: str, *, socket: Path, authority: Path | None = None) -> None:
    """Tell this machine's clients where the platform answers: the front door, and the API's socket.

    `authority` is the file with what they must trust to speak TLS to it.
    """
    fresh = home / f"{SERVER_FILE}.new"
    said = {"url": url, "pid": os.getpid(), "socket": str(socket)}
    fresh.write_text(json.dumps(said | ({"ca": str(authority)} if authority else {})))
    fresh.replace(home / SERVER_FILE)


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class _JsonLines(logging.Formatter):
    """One JSON document a line, with what was given as `extra`."""

    _KNOWN = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        more = {
            name: value
            for name, value in vars(record).items()
            if name not in self._KNOWN and name != "message"
        }
        line = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **more,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
