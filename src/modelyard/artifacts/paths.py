"""Names of files in an upload: relative, plain, and the same on every machine."""

from __future__ import annotations

import unicodedata

from modelyard.domain.errors import FieldError, Invalid, Refused

BLOBS = "blobs"
SHA256_DIGITS = 64
MAX_PATH = 1024
MAX_PART = 255
"""Bytes of one component, as file systems allow."""


def clean(path: str, *, field: str = "file") -> str:
    """Return `path` with `/` and without `.` parts.

    Raises Invalid, naming the path, for absolute ones, `..`, backslashes, control characters and overlong
    names.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    problem = _problem(path, parts)
    if problem:
        message = f"`{_shown(path)}` {problem}; use a relative path such as `model/model.onnx`"
        raise Invalid(f"{field}: {message}", errors=[FieldError(field, message)])
    return "/".join(parts)


def blob(sha256: str) -> str:
    """Where a content lies below a store's root or prefix; raises Refused for what is no checksum."""
    if len(sha256) != SHA256_DIGITS or not set(sha256) <= set("0123456789abcdef"):
        raise Refused("the recorded checksum of a file is not a SHA-256; publish the version again")
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def _problem(path: str, parts: list[str]) -> str:
    checks = (
        (not parts, "names no file"),
        (path.startswith("/"), "is an absolute path"),
        (".." in parts, "leaves its directory with `..`"),
        ("\\" in path or (len(path) > 1 and path[1] == ":"), "has a backslash or a drive letter"),
        (any(unicodedata.category(mark) in ("Cc", "Cs") for mark in path), "has control characters"),
        (len(path.encode("utf-8", "replace")) > MAX_PATH, f"is longer than {MAX_PATH} bytes"),
        (any(len(part.encode("utf-8", "replace")) > MAX_PART for part in parts), "has an overlong part"),
    )
    return next((text for wrong, text in checks if wrong), "")


def _shown(path: str) -> str:
    plain = "".join(mark if mark.isprintable() else "?" for mark in path[:120])
    return plain + ("…" if len(path) > 120 else "")
