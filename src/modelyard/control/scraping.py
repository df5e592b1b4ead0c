"""Ask every replica for its metrics, all at once and none for long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelyard.control.platform import Platform
from modelyard.domain.deployment import Deployment, Phase, Replica
from modelyard.domain.exposition import Target
from modelyard.store import deployments

SECONDS = 1.0
"""How long a target may take."""
MOST_BYTES = 4 << 20
_AT_ONCE = 32
_ANSWERING = frozenset({Phase.READY, Phase.UNREADY, Phase.DRAINING})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a target's metrics are, and whose."""

    address: str
    """`unix:/path` or `ip:port`."""
    path: str
    labels: dict[str, str]
    ours: bool


async def scrape(known: Sequence[Deployment]) -> list[Target]:
    """What every replica of these deployments says of itself."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(place: _Place) -> Target:
        async with turns:
            text = await _fetch(place.address, place.path)
        return Target(labels=place.labels, text=text, ours=place.ours)

    return list(await asyncio.gather(*(ask(place) for each in known for place in _places(each))))


async def known(platform: Platform) -> Sequence[Deployment]:
    """Every deployment there is."""
    async with platform.database.read() as tx:
        return await deployments.all(tx)


def _places(deployment: Deployment) -> Iterator[_Place]:
    for replica in deployment.status.replicas:
        if replica.phase in _ANSWERING:
            yield from _of_replica(deployment, replica)


def _of_replica(deployment: Deployment, replica: Replica) -> Iterator[_Place]:
    labels = {
        "project": deployment.project,
        "service": deployment.name,
        "stage": deployment.stage.value,
        "revision": str(replica.revision),
        "replica": replica.name,
    }
    if replica.metrics_address:
        url = urlsplit(replica.metrics_address)
        yield _Place(address=url.netloc, path=url.path or "/metrics", labels=labels, ours=False)
    elif replica.address.startswith("unix:") or (replica.address and replica.variant):
        # Only the platform's own serving front listens on a socket, or says what answers in it.
        yield _Place(address=replica.address, path="/metrics", labels=labels, ours=True)


async def _fetch(address: str, path: str) -> str | None:
    """The text at an address; None when it does not come whole and in time."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await _connect(address)
            try:
                # As in HTTP/1.0, the answer is not in chunks and ends with the connection.
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n".encode())
                return _body(await _everything(reader))
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _everything(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ValueError("too much")
    return b"".join(parts)


def _body(answer: bytes) -> str | None:
    head, separator, body = answer.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    return body.decode(errors="replace") if separator and status == [b"200"] else None
