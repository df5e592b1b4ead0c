"""What replicas wrote: the logs of their pods' containers as one, also of pods that come meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from modelyard.backends.base import LogLine
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client import logs
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import Line, Wanted
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import Invalid, ModelyardError, NotFound

_LOOK_SECONDS = 0.5
"""How often is looked whether there are new pods, while somebody follows."""
_MOST_WAITING = 1000

Sources = Callable[[], Sequence[Wanted]]
"""The logs that there are at this moment."""


def sources(
    pods: Sequence[Manifest], *, replica: str = "", tail: int | None, follow: bool
) -> Iterator[Wanted]:
    """The containers of these pods whose lines count: those that have run, the one that answers last.

    Of a container that was started again what it said before its end is told first.
    """
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        name = str((metadata.get("annotations") or {}).get(names.REPLICA, ""))
        if not name or (replica and replica != name):
            continue
        wanted = Wanted(
            namespace=metadata["namespace"], pod=metadata["name"], tail=tail, follow=follow, source=name
        )
        said = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        for each in said:
            if not _has_run(each):
                continue
            if each.get("restartCount") and "running" not in each.get("state", {}):
                yield replace(wanted, container=each["name"], previous=True, follow=False)
            yield replace(wanted, container=each["name"])


async def told(cluster: Cluster, wanted: Sequence[Wanted]) -> AsyncIterator[LogLine]:
    """The last lines of each, all by time."""
    readers = [_read(cluster, each) for each in wanted]
    for line in await logs.last(readers, sum(each.tail or 0 for each in wanted)):
        yield LogLine(line.source, line.text)


async def followed(cluster: Cluster, look: Sources) -> AsyncIterator[LogLine]:
    """The last lines of each and whatever comes, of new pods from their beginning; until nobody listens."""
    queue: asyncio.Queue[Line] = asyncio.Queue(maxsize=_MOST_WAITING)
    tasks: dict[tuple[str, str, str, bool], asyncio.Task[None]] = {}
    first = True
    try:
        while True:
            for each in look():
                key = (each.namespace, each.pod, each.container, each.previous)
                if key not in tasks:
                    source = each if first else replace(each, tail=None)
                    tasks[key] = asyncio.create_task(_pump(cluster, source, queue))
            first = False
            async for line in _waiting(queue):
                yield LogLine(line.source, line.text)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _waiting(queue: asyncio.Queue[Line]) -> AsyncIterator[Line]:
    """What comes, until it is time to look for new pods."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _LOOK_SECONDS
    while (left := end - loop.time()) > 0:
        try:
            async with asyncio.timeout(left):
                line = await queue.get()
        except TimeoutError:
            return
        yield line


async def _pump(cluster: Cluster, wanted: Wanted, queue: asyncio.Queue[Line]) -> None:
    async for line in _read(cluster, wanted):
        await queue.put(line)


async def _read(cluster: Cluster, wanted: Wanted) -> AsyncIterator[Line]:
    """The lines of one; none of a pod that went or of a container that has not run, which is no error."""
    try:
        async for line in logs.lines(cluster, wanted):
            yield line
    except (NotFound, Invalid):
        return
    except ModelyardError as error:
        yield Line(0, wanted.source, f"[its log cannot be read: {error.message}]")


def _has_run(status: dict[str, Any]) -> bool:
    state = status.get("state", {})
    return "running" in state or "terminated" in state or bool(status.get("restartCount"))
