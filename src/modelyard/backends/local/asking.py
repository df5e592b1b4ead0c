"""One question to a front at its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

from modelyard.domain.errors import BackendError

PATIENCE_SECONDS = 5.0
MOST_BYTES = 64 << 20


async def get(socket: Path, path: str, *, whom: str) -> bytes:
    """The body of the answer to a GET. Raises BackendError when there is none, or when it is not 200."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, body = await _exchange(str(socket), path)
    except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
        raise BackendError(f"replica {whom} does not answer {path}: {error!r}", retryable=True) from error
    if not head.startswith(b"HTTP/1.1 200"):
        raise BackendError(f"replica {whom} refuses {path}: {head[:40]!r}", retryable=False)
    return body


async def _exchange(socket: str, path: str) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(lengths[0].partition(b":")[2])
        if not 0 <= size <= MOST_BYTES:
            raise ValueError(f"an answer of {size} bytes")
        return head, await reader.readexactly(size)
    finally:
        writer.close()
