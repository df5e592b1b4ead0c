"""Small JSON documents beside a model: its configuration, a pooling, an example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelyard.formats import jsontext, limits
from modelyard.formats.bytesview import Damaged

MAX_DOCUMENT = 8 * limits.MIB


def read(path: Path, name: str) -> Any:
    """The document in a file. Raises Damaged, with the file's name, when it is not JSON or too large."""
    if path.stat().st_size > MAX_DOCUMENT:
        raise Damaged(f"`{name}` is larger than {MAX_DOCUMENT} bytes")
    text = path.read_bytes()
    try:
        jsontext.require_nothing_after(text, 0)
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"`{name}` is not JSON") from None
    except Damaged as error:
        raise Damaged(f"`{name}`: {error}") from None


def mapping(path: Path, name: str) -> dict[str, Any]:
    """The object in a file. Raises Damaged when it holds something else."""
    found = read(path, name)
    if not isinstance(found, dict):
        raise Damaged(f"`{name}` must hold an object")
    return found
