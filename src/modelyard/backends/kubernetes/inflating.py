"""Takes packed documents out of what others can write, and never more of them than there may be."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

_GZIP = 31


def document(text: str, *, most_bytes: int) -> Any:
    """The JSON document in base64 of gzip; raises ValueError for what is none, broken off or too large."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        content = inflater.decompress(base64.b64decode(text), most_bytes)
        if inflater.unconsumed_tail or not inflater.eof:
            raise ValueError("it breaks off, or is too large")
        return json.loads(content)
    except (zlib.error, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
