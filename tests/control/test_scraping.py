"""Targets are asked where they are, and none is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control import scraping
from modelyard.domain.deployment import DeploymentStatus, Phase, Replica
from tests.store.samples import deployment

TEXT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nbatches 3\n"


@asynccontextmanager
async def target(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[str]:
    """A server that is asked once per connection; None is no answer at all."""

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = answer(await reader.readuntil(b"\r\n\r\n"))
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(asked, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def replica(name: str, **fields: str) -> Replica:
    return Replica(name=name, revision=2, phase=Phase.READY, **fields)  # type: ignore[arg-type]


async def test_every_replica_is_asked_where_its_metrics_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "SECONDS", 0.3)
    monkeypatch.setattr(scraping, "MOST_BYTES", 1 << 20)
    paths: list[bytes] = []

    def answer(request: bytes) -> bytes | None:
        paths.append(request.split(b" ")[1])
        return {
            b"/own": TEXT,
            b"/gone": b"HTTP/1.1 404 Not Found\r\n\r\nnothing",
            b"/huge": TEXT + b"x" * (2 << 20),
            b"/odd": b"what?",
        }.get(paths[-1])

    async with target(answer) as address:
        found = [
            replica(path, address="127.0.0.1:1", metrics_address=f"http://{address}/{path}")
            for path in ("own", "gone", "huge", "odd", "silent")
        ]
        found += [
            replica("closed", metrics_address="http://127.0.0.1:1/metrics"),
            replica("front", address=f"unix:{tmp_path}/nobody.sock"),
            replica("front-in-a-pod", address="127.0.0.1:1", variant="onnx"),
            replica("without", address="127.0.0.1:1"),
            replace(replica("starting", metrics_address=f"http://{address}/own"), phase=Phase.STARTING),
        ]
        one = replace(deployment(), status=DeploymentStatus(replicas=tuple(found)))
        said = {each.labels["replica"]: each for each in await scraping.scrape([one])}
    assert {name for name, each in said.items() if each.text is not None} == {"own"}
    assert said.keys() == {"own", "gone", "huge", "odd", "silent", "closed", "front", "front-in-a-pod"}
    assert said["own"].text == "batches 3\n"
    assert (said["own"].ours, said["front"].ours, said["front-in-a-pod"].ours) == (False, True, True)
    assert dict(said["own"].labels) == {
        "project": "default",
        "service": "churn",
        "stage": "production",
        "revision": "2",
        "replica": "own",
    }
