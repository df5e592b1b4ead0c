"""The kubelet of a cluster whose pods are processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cluster.processes.containers import Log
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.pods import Pod
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving


@dataclass(slots=True)
class ProcessKubelet:
    """Runs every pod that has a node; `images` says what stands for an image, None that it cannot be pulled.

    A server must listen at its pod's address, 127.x.y.z, and not everywhere: all share one network.
    """

    hand: Hand
    home: Path
    images: Callable[[str], Image | None]
    pods: dict[str, Pod] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def step(self, value: Object) -> None:
        """Begin to run a pod that was bound, or tell one that runs that it is to go."""
        uid = value["metadata"]["uid"]
        if not value["spec"].get("nodeName"):
            if is_leaving(value):
                self._finish(value)
            return
        if uid not in self.pods:
            number = next(self._numbers)
            address = f"127.{64 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
            self.pods[uid] = Pod(self.hand, value, self.home / uid, address, self.images)
            self._tasks[uid] = asyncio.get_running_loop().create_task(self.pods[uid].run())
        if is_leaving(value):
            pod = self.pods[uid]
            pod.leave(float(value["metadata"].get("deletionGracePeriodSeconds") or 0))
            if pod.over:
                self._finish(value)

    def written(self, pod: Object, container: str) -> list[Log]:
        """What a container wrote, one log for each time that it ran."""
        here = self.pods.get(pod["metadata"]["uid"])
        parts = here.parts if here is not None else ()
        return [log for part in parts if part.spec["name"] == container for log in part.logs]

    def _finish(self, value: Object) -> None:
        name = (value["metadata"]["namespace"], value["metadata"]["name"])
        self.hand.cluster.garbage.finished(self.hand.cluster.kind("Pod"), name)
        self.pods.pop(value["metadata"]["uid"], None)

    async def close(self) -> None:
        """End everything at once."""
        pods = list(self.pods.values())
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(pod.gone() for pod in pods))
