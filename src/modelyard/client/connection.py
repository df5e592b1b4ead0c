"""Where the platform is and who is asking: arguments, then environment, then what `login` or `up` left."""

from __future__ import annotations

import json
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.errors import FieldError, Invalid

DEFAULT_URL = "http://127.0.0.1:8080"
LOGIN_FILE = "client.toml"
SERVER_FILE = "server.json"
TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file, not a secret


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one installation."""

    url: str
    token: str
    socket: str = ""
    """The API's Unix socket, for an installation on this machine.

    Its administrator's token goes nowhere else: another program may hold the front door's port after a crash.
    """
    ca: str = ""
    """File in PEM with what to trust beside the usual authorities when the URL begins with `https://`."""

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r})"


def home(environ: Mapping[str, str]) -> Path:
    """The data directory of this user: `MODELYARD_HOME`, else `~/.modelyard`."""
    return Path(environ.get("MODELYARD_HOME") or Path.home() / ".modelyard").expanduser()


def resolve(url: str | None, token: str | None, environ: Mapping[str, str]) -> Connection:
    """The connection to use.

    The administrator token of a local installation is only ever offered to that installation's own URL.
    """
    directory = home(environ)
    login = _login(directory)
    here = _local(directory)
    local = here.get("url", "")
    ca = environ.get("MODELYARD_CA") or login.get("ca") or here.get("ca", "")
    chosen = (url or environ.get("MODELYARD_URL") or login.get("url") or local or DEFAULT_URL).rstrip("/")
    if token or environ.get("MODELYARD_TOKEN"):
        return Connection(chosen, token or environ["MODELYARD_TOKEN"], ca=ca)
    if login.get("url", "").rstrip("/") == chosen and login.get("token"):
        return Connection(chosen, login["token"], ca=ca)
    if local and chosen == local.rstrip("/"):
        return Connection(chosen, _read(directory / TOKEN_FILE), here.get("socket", ""), ca)
    return Connection(chosen, "", ca=ca)


def trust(connection: Connection) -> ssl.SSLContext | bool:
    """What to verify servers with: the usual authorities, and the connection's own.

    Raises Invalid for a file that holds no certificate.
    """
    if not connection.ca or not connection.url.startswith("https://"):
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(connection.ca)
    except (OSError, ssl.SSLError) as error:
        message = f"{connection.ca} holds no certificates in PEM ({error}); save `modelyard config ca` there"
        raise Invalid(f"MODELYARD_CA: {message}", errors=[FieldError("MODELYARD_CA", message)]) from None
    return context


def save_login(connection: Connection, environ: Mapping[str, str]) -> Path:
    """Remember a login for later calls, readable by this user only."""
    path = home(environ) / LOGIN_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    lines = {"url": connection.url, "token": connection.token} | (
        {"ca": connection.ca} if connection.ca else {}
    )
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def _login(directory: Path) -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in tomllib.loads(_read(directory / LOGIN_FILE)).items()}
    except tomllib.TOMLDecodeError:
        return {}


def _local(directory: Path) -> dict[str, str]:
    """Where the installation on this machine answers; empty when there is none."""
    try:
        document = json.loads(_read(directory / SERVER_FILE) or "{}")
    except json.JSONDecodeError:
        return {}
    return {str(k): str(v) for k, v in document.items()} if isinstance(document, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
