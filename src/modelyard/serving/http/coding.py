"""Content codings: request bodies are inflated within a bound, answers compressed for who asks for it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem, too_large

GZIP_WINDOW = 31
ZLIB_WINDOW = 15
CODINGS = {b"gzip": GZIP_WINDOW, b"x-gzip": GZIP_WINDOW, b"deflate": ZLIB_WINDOW}
QUICK_BYTES = 4096
"""Compressed bodies up to this size are inflated at once, others in a thread."""
COMPRESS_BYTES = 1024
"""Answers below this are sent as they are."""


def window_of(coding: bytes) -> int:
    """How zlib reads a Content-Encoding; 0 for identity. Raises Problem (415) for one we do not know."""
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return 0
    window = CODINGS.get(coding)
    if window is None:
        raise Problem(415, "invalid", "Content-Encoding: send the body as gzip, deflate or as it is")
    return window


def inflate(body: bytes, window: int, limit: int) -> bytes:
    """The body that was compressed; raises Problem: 400 when damaged, 413 when larger than `limit`."""
    parts: list[bytes] = []
    total = 0
    while body:
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(body, limit - total + 1)
        except zlib.error:
            raise Problem(400, "invalid", "the body is not what its Content-Encoding says") from None
        total += len(part)
        if total > limit:
            raise too_large(limit, what="the body, once decompressed,")
        if not stream.eof:
            raise Problem(400, "invalid", "the compressed body is cut short")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def wanted_coding(accept: bytes | None) -> bytes:
    """The coding to answer in, when a client asks for exactly one; most name several out of habit."""
    wanted = (accept or b"").strip().lower()
    return wanted if wanted in (b"gzip", b"deflate") else b""


def compress(parts: Iterable[Raw], coding: bytes) -> bytes:
    """The parts as one compressed body."""
    stream = zlib.compressobj(1, zlib.DEFLATED, CODINGS[coding])
    return b"".join([*(stream.compress(part) for part in parts), stream.flush()])
