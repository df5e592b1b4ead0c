"""Hours of bad weather in a moment: whatever fails in between, in the end informers know what there is."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.informers import Informer
from modelyard.domain.errors import ModelyardError
from tests.cluster.manifests import config
from tests.support import virtual
from tests.support.cluster import inside, schemas
from tests.support.cluster import verbs as server_side
from tests.support.cluster.faults import Cut, Fault, Hang, Status
from tests.support.cluster.server import Server

SCHEMAS = schemas.load("1.37")
MINUTES = 20


class Storm:
    """A cluster behind bad weather, a writer that goes on, and informers that follow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = Server(server_side.Cluster(SCHEMAS, clock=virtual.clock))
        self.away = False
        self.calm = inside.client(self.server, clock=virtual.clock)
        self.stormy = inside.client(
            self.server, clock=virtual.clock, wire=inside.Wire(self.server, before=self.blow)
        )
        self.stormy.dice = self.random.random

    async def blow(self, method: str, path: str) -> None:
        await asyncio.sleep(self.random.random() * 0.2)
        if self.away:
            raise httpx2.ConnectError("no route")

    def fault(self) -> Fault:
        roll = self.random
        answers: list[Fault] = [
            Status(500),
            Status(503),
            Status(429, retry_after=roll.randint(1, 20)),
            Status(400),
        ]
        breaks: list[Fault] = [Cut(), Cut(after_events=roll.randint(1, 10)), Hang(roll.random() * 60)]
        return roll.choice([*answers, Status(403), *breaks])

    async def weather(self) -> None:
        while True:
            await asyncio.sleep(self.random.random() * 60)
            match self.random.randrange(4):
                case 0:
                    self.away = True
                    await asyncio.sleep(self.random.random() * 200)
                    self.away = False
                case 1:
                    self.server.cluster.store.compact()
                case _:
                    self.server.faults.add(self.fault(), times=self.random.randint(1, 5), where=is_read)

    async def write(self, informer: Informer) -> None:
        """Objects come, change, go and come again; sometimes the informer hears of it from us, and late."""
        while True:
            await asyncio.sleep(self.random.random() * 5)
            name = f"c{self.random.randrange(8)}"
            if self.random.random() < 0.3:
                await self.calm.delete(kinds.CONFIG_MAP, name, namespace="default")
                continue
            manifest: dict[str, Any] = config(name, value=str(self.random.random()))
            manifest["metadata"]["namespace"] = "default"
            with contextlib.suppress(ModelyardError):
                written = await self.calm.apply(manifest)
                if self.random.random() < 0.5:
                    late = self.random.choice([0.0, 1.0, 30.0])
                    asyncio.get_running_loop().call_later(late, informer.put, written)


def is_read(method: str, path: str) -> bool:
    return method in ("WATCH", "GET") and "configmaps" in path


def known(cluster: Cluster, told: dict[str, str], wrong: list[str]) -> Informer:
    """An informer, and what somebody knows who only looks at what he was told of."""

    def changed(namespace: str, name: str) -> None:
        found = informer.get(namespace, name)
        if found is None:
            if told.pop(name, None) is None:
                wrong.append(f"{name} went and had never come")
            return
        version, before = int(found["metadata"]["resourceVersion"]), int(told.get(name, 0))
        if version <= before:
            wrong.append(f"{name} was at {before} and is told at {version}")
        told[name] = str(version)

    informer = Informer(cluster, kinds.CONFIG_MAP, namespace="default", changed=changed)
    return informer


@given(seed=st.integers(0, 10**9))
@settings(max_examples=25)
def test_in_the_end_informers_know_what_there_is(seed: int) -> None:
    async def story() -> None:
        storm = Storm(seed)
        told: dict[str, str] = {}
        wrong: list[str] = []
        informer = known(storm.stormy, told, wrong)
        tasks = [
            asyncio.create_task(each) for each in (informer.run(), storm.weather(), storm.write(informer))
        ]
        await asyncio.sleep(MINUTES * 60)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        storm.away = False
        storm.server.faults.due.clear()
        await asyncio.sleep(200)
        there = {
            each["metadata"]["name"]: each["metadata"]["resourceVersion"]
            for each in (await storm.calm.list(kinds.CONFIG_MAP, namespace="default")).items
        }
        assert not tasks[0].done()
        assert informer.stale_since is None
        assert {e["metadata"]["name"]: e["metadata"]["resourceVersion"] for e in informer.items()} == there
        assert told == there
        assert (informer.trouble, wrong) == ("", [])
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await storm.stormy.close()
        await storm.calm.close()

    virtual.run(story())
