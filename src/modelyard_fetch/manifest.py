"""What is to be fetched: a JSON file that the platform writes beside the pod.

    {"base": "http://modelyard.modelyard-system:8080/api/v1/artifacts",
     "files": [{"path": "model.onnx", "size": 1234, "sha256": "…", "url": "…", "token": "…"}]}

A file without `url` is at `base/SHA256`. Its `token` opens just that address; a file without one gets the
token of the command line, which is sent to the base's own origin and to nobody else. A long manifest may be
packed by gzip.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any, Dict, Tuple
from urllib.parse import urlsplit

from modelyard_fetch import outcome
from modelyard_fetch.outcome import Failed

_DIGITS = frozenset("0123456789abcdef")
_GZIP = b"\x1f\x8b"
_SCHEMES = ("http", "https", "s3")
_NAME_BYTES = 255


@dataclass(frozen=True)
class Entry:
    """One file: where it goes, what it must be, and where it is."""

    path: str
    size: int
    sha256: str
    url: str
    token: str = ""


@dataclass(frozen=True)
class Manifest:
    """All files, and the address that gets the token."""

    entries: Tuple[Entry, ...]
    base: str = ""


def read(path: str, *, located: bool = True) -> Manifest:
    """The manifest in that file; raises Failed naming what is wrong with it."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        text = gzip.decompress(content) if content.startswith(_GZIP) else content
        return parse(json.loads(text.decode("utf-8")), located=located)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise Failed(outcome.USAGE, "manifest %s cannot be read: %s" % (path, error)) from None


def parse(document: Any, *, located: bool = True) -> Manifest:
    """The manifest of a JSON document; raises Failed. Files that are not fetched need not be `located`."""
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise Failed(outcome.USAGE, "the manifest must be an object with a list `files`")
    base = str(document.get("base", "")).rstrip("/")
    entries = tuple(_entry(each, number, base, located) for number, each in enumerate(document["files"]))
    _distinct(entries)
    return Manifest(entries, base)


def _entry(given: Any, number: int, base: str, located: bool) -> Entry:
    where = "files[%d]" % number
    if not isinstance(given, dict):
        raise Failed(outcome.USAGE, where + " must be an object")
    size, sha256 = given.get("size"), given.get("sha256")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Failed(outcome.USAGE, where + ".size must be a number of bytes")
    if not isinstance(sha256, str) or len(sha256) != 64 or not set(sha256) <= _DIGITS:
        raise Failed(outcome.USAGE, where + ".sha256 must be 64 hex digits")
    token = given.get("token", "")
    if not isinstance(token, str) or not token.isprintable() or not token.isascii():
        raise Failed(outcome.USAGE, where + ".token is no token")
    url = _url(given, where, base, sha256) if located else ""
    return Entry(_path(given, where), size, sha256, url, token)


def _path(given: Dict[str, Any], where: str) -> str:
    path = given.get("path")
    parts = path.split("/") if isinstance(path, str) else []
    odd = any(
        part in ("", ".", "..") or "\\" in part or len(part.encode()) > _NAME_BYTES or not part.isprintable()
        for part in parts
    )
    if not parts or odd or parts[0] == ".modelyard":
        raise Failed(outcome.USAGE, "%s.path %r must be relative and stay inside" % (where, path))
    return "/".join(parts)


def _url(given: Dict[str, Any], where: str, base: str, sha256: str) -> str:
    url = given.get("url") or (base and "%s/%s" % (base, sha256))
    try:
        right = isinstance(url, str) and urlsplit(url).scheme in _SCHEMES and bool(urlsplit(url).netloc)
    except ValueError:
        right = False
    if not right:
        raise Failed(
            outcome.USAGE, where + ".url must be http://, https:// or s3://, or `base` must be given"
        )
    return str(url)


def _distinct(entries: Tuple[Entry, ...]) -> None:
    """No file twice, and none where another one's directory is."""
    paths = {entry.path for entry in entries}
    if len(paths) != len(entries):
        raise Failed(outcome.USAGE, "the manifest names a path twice")
    for path in paths:
        parts = path.split("/")
        above = next(
            ("/".join(parts[:n]) for n in range(1, len(parts)) if "/".join(parts[:n]) in paths), None
        )
        if above:
            raise Failed(outcome.USAGE, "`%s` lies below `%s`, which is a file" % (path, above))
