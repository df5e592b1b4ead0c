"""Messages on a stream: five bytes of length in front of each, perhaps compressed."""

from __future__ import annotations

from struct import Struct

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem, too_large
from modelyard.serving.http.coding import GZIP_WINDOW, ZLIB_WINDOW, inflate

PREFIX = Struct(">BI")
_VIEW_BYTES = 4096
_WINDOWS = {b"": 0, b"identity": 0, b"gzip": GZIP_WINDOW, b"deflate": ZLIB_WINDOW}


def prefix(size: int) -> bytes:
    """What stands in front of a message of this many bytes."""
    return PREFIX.pack(0, size)


def window_of(encoding: bytes) -> int:
    """How zlib reads a grpc-encoding, 0 for identity; raises Problem for one we do not know."""
    window = _WINDOWS.get(encoding.strip().lower())
    if window is None:
        shown = encoding[:40].decode("latin-1")
        raise Problem(415, "invalid", f'grpc-encoding: "{shown}" is not understood; use gzip or deflate')
    return window


class Unframer:
    """Cuts what is read into messages."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[Raw] = []
        self.have = 0
        """Bytes that belong to no whole message yet."""

    def feed(self, data: Raw) -> None:
        """Take a piece."""
        self._parts.append(data)
        self.have += len(data)

    def next(self) -> tuple[bool, Raw] | None:
        """The next message and whether it is compressed, None when it is not whole.

        Raises Problem for one that is larger than the limit, as soon as its length is known.
        """
        if self.have < 5:
            return None
        compressed, size = self._announced()
        if self.have < 5 + size:
            return None
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        message = whole[5 : 5 + size] if size < _VIEW_BYTES else memoryview(whole)[5 : 5 + size]
        self.have -= 5 + size
        self._parts = [memoryview(whole)[5 + size :]] if self.have else []
        return compressed, message

    def _announced(self) -> tuple[bool, int]:
        if len(self._parts[0]) < 5:
            self._parts = [b"".join(self._parts)]
        flag, size = PREFIX.unpack_from(self._parts[0])
        if flag > 1:
            raise Problem(400, "invalid", "a message begins with neither 0 nor 1")
        if size > self._limit:
            raise too_large(self._limit, what=f"the message of {size} bytes")
        return bool(flag), size


def inflated(message: Raw, window: int, limit: int) -> bytes:
    """A compressed message as it was; raises Problem for a damaged one, and for a bomb."""
    if not window:
        raise Problem(400, "invalid", "a message is compressed, but grpc-encoding does not say how")
    if not message:
        return b""
    try:
        return inflate(bytes(message), window, limit)
    except Problem as problem:
        if problem.status != 400:
            raise
        raise Problem(400, "invalid", "a message is not what grpc-encoding says") from None
