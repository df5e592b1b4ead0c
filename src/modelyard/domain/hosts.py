"""What a user may write as a service's host: a domain, a URL, a path; and what each of them means."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid

RESERVED_PATHS = frozenset({"api", "services", "daas", "login", "healthz", "livez", "readyz"})
"""First parts of paths that are the platform's own at the front door."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_SECOND = re.compile(r":(?P<port>[0-9]{1,9})(?P<rest>/.*)?", re.DOTALL)
_ADDRESS = re.compile(r"[0-9.]+|\[.*|.*:.*:.*")
_LONGEST = 240
"""Characters; a name has 253, and a stage's prefix wants room."""
_LONGEST_PATH = 1000
_FORMS = "a domain such as `churn.example.com`, a URL such as `https://churn.example.com/docs`, or a path"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user wrote as a service's host, understood."""

    domain: str = ""
    """Answers in place of the automatic host; empty keeps that."""
    url: str = ""
    """What people open, when it is not the plain host."""
    path: str = ""
    """Where at the host people begin."""
    second: bool = False
    """Whether people begin at the second port."""


def parse(text: str, path: str) -> Wish:
    """Understand a host as users write it; raises Invalid that names `path` and a remedy."""
    if not text:
        return Wish()
    if text.startswith("/"):
        return Wish(path=_require_path(text, path))
    if text.startswith(":") and not text.startswith("::"):
        return _second(text, path)
    if "://" in text:
        return _url(text, path)
    if "/" in text:
        _refuse(path, text, f"is a domain and a path; write `https://{_plain(text)}`, or the domain alone")
    if ":" in text and not _ADDRESS.fullmatch(text):
        _refuse(
            path,
            text,
            f"names a port; write `{_plain(text).partition(':')[0]}`, as the front door has its own",
        )
    return Wish(domain=require_domain(text, path))


def require_domain(text: str, path: str) -> str:
    """The domain itself when it can be a host's name; raises Invalid that names `path` and a remedy."""
    odd = next((c for c in text if not c.isascii()), "")
    if odd:
        what = unicodedata.name(odd, "an unnamed character")
        _refuse(path, text, f"holds {what}, which is not a-z; write its ASCII form{_encoded(text)}")
    if "*" in text:
        _refuse(path, text, "is a wildcard; name one host, as each service has its own")
    if _ADDRESS.fullmatch(text):
        _refuse(path, text, "is an IP address, which no host is told by; ask for `own_port` instead")
    if text != text.lower():
        _refuse(path, text, f"has upper case; write `{_plain(text)}`")
    if len(text) > _LONGEST:
        _refuse(path, text, f"is longer than {_LONGEST} characters; choose a shorter one")
    labels = text.split(".")
    if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        _refuse(path, text, f"is no host; write {_FORMS}; labels have a-z, 0-9 and hyphens inside")
    return text


def require_free(
    host: str, path: str, *, own: str, domains: frozenset[str], reserved: frozenset[str]
) -> None:
    """Nothing when a service may be called `host`; raises Invalid for what the platform itself answers at.

    `own` is what all automatic hosts of its project end with; `domains` are those that services answer
    below, and `reserved` are the front door's own hosts.
    """
    if host in reserved:
        _refuse(path, host, "is where the platform itself answers; choose a name below it")
    below = any(host == f"service.{d}" or host.endswith(f".service.{d}") for d in domains)
    label, _, rest = host.partition(".")
    if below and not (_LABEL.fullmatch(label) and rest == own):
        _refuse(
            path, host, f"is below a domain whose names the platform gives out; NAME.{own} is your project's"
        )


def _second(text: str, path: str) -> Wish:
    found = _SECOND.fullmatch(text)
    if not found or not 1 <= int(found["port"]) <= 65_535:
        _refuse(path, text, "is no port with a path; write `:8081/models`, with a port from 1 to 65535")
    return Wish(path=_require_path(found["rest"] or "/", path), second=True)


def _url(text: str, path: str) -> Wish:
    found = _URL.fullmatch(text)
    if not found or found["scheme"] not in ("http", "https"):
        _refuse(path, text, "is no URL that can be opened; begin with `https://` or `http://`")
    if "@" in found["host"]:
        _refuse(path, text, "carries a user or password; leave them out, as everybody can read it")
    host, colon, port = found["host"].partition(":")
    if found["host"].startswith("[") or (colon and not port.isdecimal()):
        host = found["host"]
    elif colon and not 1 <= int(port[:9]) <= 65_535:
        _refuse(path, text, "has no port from 1 to 65535")
    domain = require_domain(host, path)
    _require_characters(found["rest"], path)
    return Wish(domain=domain, url=text, path=found["rest"])


def _require_path(text: str, path: str) -> str:
    _require_characters(text, path)
    parts = re.split(r"[/?#]+", text.strip("/"))
    if ".." in parts or "." in parts:
        _refuse(path, text, "leads upwards; write the path itself, without `.` and `..`")
    if parts[0].lower() in RESERVED_PATHS:
        _refuse(path, text, f"is taken by the platform: /{parts[0].lower()} is its own; choose another path")
    return text


def _require_characters(text: str, path: str) -> None:
    if len(text) > _LONGEST_PATH:
        _refuse(path, text, f"is longer than {_LONGEST_PATH} characters; choose a shorter path")
    if not all("!" <= c <= "~" and c not in '"<>\\^`{|}' for c in text):
        _refuse(path, text, "has characters that no address may have; write them as %XX")


def _encoded(text: str) -> str:
    """The ASCII form of an international name, for the remedy; empty when it has none."""
    try:
        return f", `{text.lower().encode('idna').decode()}`"
    except UnicodeError:
        return ""


def _plain(text: str) -> str:
    return text.lower() if text.isascii() and text.isprintable() and len(text) <= 70 else "…"


def _refuse(path: str, text: str, why: str) -> NoReturn:
    shown = ascii(text if len(text) <= 70 else text[:70] + "…")
    raise Invalid(f"{path}: {shown} {why}", errors=(FieldError(path, f"{shown} {why}"),))
