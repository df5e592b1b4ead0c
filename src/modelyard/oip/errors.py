"""What a client can do wrong on the inference protocol.

ProtocolError
└── Rejected    the request can never succeed as written; answered with 400
"""

from __future__ import annotations

from typing import Any

import orjson


class ProtocolError(Exception):
    """The root of the tree."""


class Rejected(ProtocolError):
    """The request can never succeed as written.

    `path` says where in the request, such as `inputs[0].data[3]`; it is empty for the request as a whole.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def shown(value: Any) -> str:
    """A JSON value as an error may repeat it: short, and as it looks in JSON."""
    if isinstance(value, (list, tuple)):
        return "a list" if value else "[]"
    if isinstance(value, dict):
        return "an object" if value else "{}"
    if isinstance(value, bytes):
        return "bytes"
    if type(value) is int:
        text = str(value)
    else:
        text = orjson.dumps(value[:60] if isinstance(value, str) else value).decode()
    return text if len(text) <= 40 else text[:39] + "…"
