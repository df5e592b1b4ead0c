"""A front that says how much memory one large request took it; `traced.py DIRECTORY`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from modelyard.serving.config import parse_config
from modelyard.serving.front import Front
from tests.serving.hosting import until
from tests.serving.replicas import FP64

ROWS, COLUMNS = 3, 25_088
SIZE = 8 * ROWS * COLUMNS
"""As an image of 224 by 224 points in three colours has it: 602,112 bytes."""


def asked(fill: float) -> bytes:
    """A request with a tensor of that size."""
    described = {"name": "input", "datatype": "FP64", "shape": [ROWS, COLUMNS]}
    wanted = [{"name": "output", "parameters": {"binary_data": True}}]
    more = {"parameters": {"binary_data_size": SIZE}}
    head = json.dumps({"inputs": [{**described, **more}], "outputs": wanted}).encode()
    lines = (
        f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(head) + SIZE}\r\n"
        f"Inference-Header-Content-Length: {len(head)}\r\n\r\n"
    )
    return lines.encode() + head + np.full(ROWS * COLUMNS, fill).tobytes()


def exchange(connection: socket.socket, request: bytes, answer: bytearray) -> int:
    """Send it and take the answer, without any memory of its own; returns the answer's bytes."""
    connection.sendall(request)
    view, at, end = memoryview(answer), 0, -1
    while at != end:
        got = connection.recv_into(view[at:])
        assert got
        at += got
        middle = answer.find(b"\r\n\r\n", 0, 4096)
        if end < 0 <= middle:
            lines = bytes(answer[:middle]).lower().split(b"\r\n")
            length = next(line for line in lines if line.startswith(b"content-length:"))
            end = middle + 4 + int(length.split(b":")[1])
    return at


async def traced(tmp_path: Path) -> int:
    """The most memory that a front takes while it answers a large request."""
    found = find_spec("modelyard_worker")
    assert found is not None
    assert found.submodule_search_locations
    (tmp_path / "model.py").write_text("def predict(inputs): return {'output': inputs['input'] + 1}")
    document: dict[str, Any] = {
        "service": "echo",
        "listen": f"unix:{tmp_path}/s",
        "state_path": str(tmp_path / "state.json"),
        "signature": FP64,
        "worker": {
            "interpreter": sys.executable,
            "package": next(iter(found.submodule_search_locations)),
            "config": {"format": "python", "entry": "model.py", "path": str(tmp_path), "signature": FP64},
            "cwd": str(tmp_path),
        },
    }
    front = Front(parse_config(document))
    running = asyncio.create_task(front.run())
    await until(lambda: front.is_ready, seconds=20)
    loop = asyncio.get_running_loop()
    answer = bytearray(SIZE + 4096)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/s")
        for fill in (1.0, 2.0):  # the first grows what stays, and shows that large bodies come here
            size = await loop.run_in_executor(None, exchange, connection, asked(fill), answer)
            assert np.frombuffer(answer[size - SIZE : size]).tolist() == [fill + 1] * ROWS * COLUMNS
        request = asked(3.0)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await loop.run_in_executor(None, exchange, connection, request, answer)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    return most - before


if __name__ == "__main__":
    print(uvloop.run(traced(Path(sys.argv[1]))))
