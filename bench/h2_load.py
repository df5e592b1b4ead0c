"""Load of gRPC calls over a few HTTP/2 connections: every call the same bytes but for its stream.

A client library costs several times what a server does for a small call, and would be what is measured.
`python -m bench.h2_load HOST:PORT CONNECTIONS STREAMS SECONDS FILE` sends the message in FILE again and again
and prints what became of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = (
    b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00" + b"\x00\x04\x7f\xff\xff\xff" + b"\x00\x02\x00\x00\x00\x00"
)
_WINDOW = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + (0x7FFFFFFF - 65535).to_bytes(4, "big")
_METHOD = "/inference.GRPCInferenceService/ModelInfer"


def _field(name: str, value: str, start: bytes = b"\x40") -> bytes:
    return start + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _blocks(authority: str) -> tuple[bytes, bytes]:
    """The header block of a first call, which fills the table, and of the next ones, which use it."""
    fields = (
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        (":authority", authority),
        (":path", _METHOD),
    )
    first = b"\x83\x86" + b"".join(_field(n, v) for n, v in reversed(fields))
    later = b"\x83\x86" + bytes(0x80 | 62 + at for at in (3, 2, 1, 0))
    return first, later


class Caller(asyncio.Protocol):
    """One connection with a number of calls always under way."""

    def __init__(self, authority: str, message: bytes, streams: int) -> None:
        self._first, self._later = _blocks(authority)
        size = len(message) + 5
        self._data = b"\x00" + len(message).to_bytes(4, "big") + message
        self._head = size.to_bytes(3, "big") + b"\x00\x01"
        self._streams = streams
        self._next = 1
        self._began: dict[int, float] = {}
        self._rest = b""
        self._read = 0
        self.latencies: list[float] = []
        self.failed = 0
        self.calls = 0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._transport.write(PREFACE + _SETTINGS + _WINDOW + self._call(self._first))
        self._transport.write(b"".join(self._call(self._later) for _ in range(self._streams - 1)))

    def _call(self, block: bytes) -> bytes:
        number = self._next.to_bytes(4, "big")
        self._began[self._next] = time.perf_counter()
        self._next += 2
        head = len(block).to_bytes(3, "big") + b"\x01\x04" + number + block
        return head + self._head + number + self._data

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end, out, self._read = 0, len(data), [], 0
        while end - at >= 9:
            after = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if after > end:
                break
            out.append(self._taken(data[at + 3], data[at + 4], data[at + 5 : at + 9], data[at + 9 : after]))
            at = after
        self._rest = data[at:]
        if self._read:
            out.append(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + self._read.to_bytes(4, "big"))
        self._transport.write(b"".join(out))

    def _taken(self, kind: int, flags: int, stream: bytes, payload: bytes) -> bytes:
        """What to say to a frame."""
        if kind == 1 and flags & 1:
            return self._answered(int.from_bytes(stream, "big"), payload)
        if kind == 0:
            self._read += len(payload)
        elif kind == 4 and not flags:
            return b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
        elif kind == 6 and not flags:
            return b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + payload
        elif kind in (3, 7):
            self.failed += 1
        return b""

    def _answered(self, stream: int, block: bytes) -> bytes:
        self.calls += 1
        self.latencies.append(time.perf_counter() - self._began.pop(stream))
        # The status is spelled out by some servers; others have it in their table, or coded by Huffman.
        if b"grpc-status" in block and b"grpc-status\x010" not in block:
            self.failed += 1
        return b"" if self.stopped else self._call(self._later)


async def flood(
    address: str, connections: int, streams: int, seconds: float, message: bytes
) -> dict[str, float]:
    """Keep calls under way for so long; what came of them."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(address, message, streams), host, int(port))
        callers.append(caller)
    await asyncio.sleep(0.3)
    for caller in callers:
        caller.latencies.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - began
    latencies = sorted(latency for caller in callers for latency in caller.latencies)
    for caller in callers:
        caller.stopped = True
    return {
        "calls": len(latencies),
        "all_calls": sum(caller.calls for caller in callers),
        "rate": len(latencies) / taken,
        "p50_ms": latencies[len(latencies) // 2] * 1e3 if latencies else 0.0,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3 if latencies else 0.0,
        "failed": sum(caller.failed for caller in callers),
    }


def main() -> int:
    """Flood as the arguments say."""
    address, connections, streams, seconds, file = sys.argv[1:]
    work = flood(address, int(connections), int(streams), float(seconds), Path(file).read_bytes())
    print(json.dumps(uvloop.run(work)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
