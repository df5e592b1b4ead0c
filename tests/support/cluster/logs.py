"""`pods/NAME/log`: what a container wrote, as far as a kubelet kept it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from tests.support.cluster.processes.containers import Line, Log
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object


class Keeper(Protocol):
    """A kubelet that has logs."""

    def written(self, pod: Object, container: str) -> list[Log]:
        """What a container wrote, one log for each time that it ran."""


async def lines(keeper: Keeper | None, pod: Object, query: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The answer, line by line; it goes on while somebody follows and the container runs."""
    name = _container(pod, query.get("container", ""))
    logs = keeper.written(pod, name) if keeper is not None else []
    previous = query.get("previous") == "true"
    chosen = logs[-2:-1] if previous else logs[-1:]
    if not chosen:
        if previous:
            raise _absent(pod, name)
        return
    (log,) = chosen
    since, stamped = _whole(query.get("sinceTime", "")), query.get("timestamps") == "true"
    seen = len(log.lines)
    for line in _last([each for each in log.lines if each.at >= since], query.get("tailLines")):
        yield _shown(line, stamped)
    while query.get("follow") == "true" and not previous:
        news = log.news
        for line in log.lines[seen:]:
            yield _shown(line, stamped)
        seen = len(log.lines)
        if log.over:
            return
        await asyncio.wait_for(news.wait(), None)


def _container(pod: Object, name: str) -> str:
    known = [each["name"] for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])]
    if name and name not in known:
        raise Refusal(400, f"container {name} is not valid for pod {pod['metadata']['name']}")
    return name or pod["spec"]["containers"][0]["name"]


def _whole(stamp: str) -> str:
    """A moment as lines have it, to compare with; clients name whole seconds."""
    return stamp if "." in stamp or not stamp else f"{stamp.removesuffix('Z')}.000000000Z"


def _absent(pod: Object, container: str) -> Refusal:
    name = pod["metadata"]["name"]
    return Refusal(400, f'previous terminated container "{container}" in pod "{name}" not found')


def _last(found: list[Line], count: str | None) -> list[Line]:
    return found if count is None else found[len(found) - min(int(count), len(found)) :]


def _shown(line: Line, stamped: bool) -> bytes:
    return (f"{line.at} {line.text}" if stamped else line.text).encode() + b"\n"
