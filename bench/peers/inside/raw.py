"""The limit: the shared models called inline from the barest protocol on uvloop; `raw.py PORT`.

It checks nothing and bounds nothing, so nobody could run it; it shows the price of everything else.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import numpy as np
import orjson
import uvloop

from bench.peers.inside import compute

predict, narrow = compute.chosen()
DTYPE = np.float32 if narrow else np.float64


class Front(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._split = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"inference-header-content-length":
            self._split = int(value)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body, self._parts = b"".join(self._parts), []
        if self._split:
            self._answer_binary(body, self._split)
            return
        given = orjson.loads(body)["inputs"][0]
        rows = np.array(given["data"], DTYPE).reshape(given["shape"])
        document = {"model_name": "m", "outputs": [compute.tensor(predict(rows))]}
        self._write(b"application/json", b"", [orjson.dumps(document)])

    def _answer_binary(self, body: bytes, split: int) -> None:
        shape = orjson.loads(body[:split])["inputs"][0]["shape"]
        answer = predict(np.frombuffer(body, np.float32, offset=split).reshape(shape))
        described = {"name": "output", "datatype": "FP32", "shape": answer.shape}
        head = orjson.dumps({"outputs": [{**described, "parameters": {"binary_data_size": answer.nbytes}}]})
        more = b"Inference-Header-Content-Length: %d\r\n" % len(head)
        self._write(b"application/octet-stream", more, [head, answer.tobytes()])

    def _write(self, kind: bytes, more: bytes, parts: list[bytes]) -> None:
        size = sum(map(len, parts))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (kind, size, more)
        self._transport.writelines([head, *parts])


async def main(port: int) -> None:
    """Serve until ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Front, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
