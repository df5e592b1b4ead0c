"""The kubelet of a cluster whose pods are processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cluster import nodes
from tests.support.cluster.commands import Asked, Command
from tests.support.cluster.measuring import Usage
from tests.support.cluster.processes import shells
from tests.support.cluster.processes.containers import Container, Log, usage
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.pods import Place, Pod
from tests.support.cluster.processes.volumes import Storage
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving

_SHORTEST_LOOK_SECONDS = 1.0


def _loopback() -> Iterator[str]:
    """Addresses 127.x.y.z; kubelets of tests that run at the same time give their pods others."""
    for number in itertools.count(1 + os.getpid() % 3000 * 250):
        # Another kubelet on this machine has another second part.
        second = 2 + (os.getpid() + number // 62500) % 250
        yield f"127.{second}.{number // 250 % 250}.{number % 250 + 1}"


@dataclass(slots=True)
class ProcessKubelet:
    """Runs every pod that has a node; `images` says what stands for an image, None that it cannot be pulled.

    A server must listen at its pod's address and not everywhere: all share one network.
    """

    hand: Hand
    home: Path
    images: Callable[[str], Image | None]
    addresses: Iterator[str] = field(default_factory=_loopback)
    """Of this machine, one for each pod."""
    enforces: bool = False
    """Whether the network of the pods keeps NetworkPolicies; not every cluster's does."""
    storage: Storage = field(init=False)
    """Where a test puts the directories of claims and of images that are volumes."""
    pods: dict[str, Pod] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _measured: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Of a container: when it was measured, the seconds it had used by then, and how much at a time."""

    def __post_init__(self) -> None:
        self.storage = Storage(self.home)

    def step(self, value: Object) -> None:
        """Begin to run a pod that was bound, or tell one that runs that it is to go."""
        uid = value["metadata"]["uid"]
        if not value["spec"].get("nodeName"):
            if is_leaving(value):
                self._finish(value)
            return
        if nodes.is_off(self.hand, value):
            return self._lose(uid)
        if uid not in self.pods:
            if is_leaving(value):  # it never ran here, or ended with the node's power
                return self._finish(value)
            place = Place(self.home / uid, next(self.addresses), self.images, self.storage, self.enforces)
            self.pods[uid] = Pod(self.hand, value, place)
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

    async def execute(self, asked: Asked) -> Command:
        """A command in a container that runs."""
        container = self._running(asked.pod).get(asked.container)
        if container is None or not container.pid:
            said = f'unable to upgrade connection: container not found ("{asked.container}")'
            raise Refusal(500, said)
        return await shells.opened(container, asked.command, terminal=asked.tty)

    def measure(self, pod: Object) -> Mapping[str, Usage]:
        """What its containers use."""
        found = self._running(pod)
        return {name: self._usage(f"{pod['metadata']['uid']}/{name}", each) for name, each in found.items()}

    def _usage(self, name: str, container: Container) -> Usage:
        now, (seconds, size) = time.monotonic(), usage(container)
        then, before, cores = self._measured.get(name, (now, seconds, 0.0))
        if now - then >= _SHORTEST_LOOK_SECONDS:
            then, before, cores = now, seconds, max(seconds - before, 0.0) / (now - then)
        self._measured[name] = (then, before, cores)
        return Usage(cores, size)

    def _running(self, pod: Object) -> dict[str, Container]:
        here = self.pods.get(pod["metadata"]["uid"])
        parts = here.parts if here is not None else ()
        return {part.spec["name"]: part.container for part in parts if part.container is not None}

    def _lose(self, uid: str) -> None:
        """Its node has no power: the pod's processes are gone, and nobody tells the API server."""
        pod = self.pods.pop(uid, None)
        if pod is not None:
            # The task ends its processes.
            self._tasks[uid].cancel()

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
