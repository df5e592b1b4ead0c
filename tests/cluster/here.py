"""A cluster of one node whose pods are processes, as its tests use it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.cluster import schemas
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand
from tests.support.patience import PATIENCE

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


IP = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
"""The variable by which a server finds its own address."""


class Here:
    """A cluster of one node with a process kubelet."""

    def __init__(self, home: Path) -> None:
        self.cluster = Cluster(schemas.load("1.37"), clock=time.time)
        self.control = Control(self.cluster)
        images = {"python": Image(path=PATH, env={})}
        self.kubelet = ProcessKubelet(Hand(self.cluster, "kubelet"), home, images.get)
        self.control.kubelet = self.kubelet
        add_node(self.cluster, "node-1")

    def create(self, kind: str, name: str, **fields: Any) -> None:
        value = {"metadata": {"name": name}, **fields}
        self.cluster.create(self.cluster.kind(kind), "default", value, Options(manager="test"))

    def pod(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        self.create("Pod", name, spec={"containers": list(containers), **spec})

    def seen(self, name: str) -> dict[str, Any]:
        found = self.cluster.store.get(self.cluster.kind("Pod"), ("default", name))
        return found or {}

    def container(self, name: str) -> dict[str, Any]:
        return next(iter(self.seen(name).get("status", {}).get("containerStatuses", ())), {})

    async def until(self, good: Any, seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not good():
                await asyncio.sleep(0.02)

    options = Options(manager="test")

    def delete(self, name: str) -> None:
        self.cluster.delete(self.cluster.kind("Pod"), ("default", name), Options(manager="test"))


def container(*command: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": "python", "command": list(command), **more}
