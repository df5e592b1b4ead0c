"""Leases: one holder at a time whatever the network does, on virtual time; and against the API server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.backends.kubernetes import kinds, leases
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.backends.kubernetes.leases import Leadership, Seen, Terms
from modelyard.domain.errors import Conflict, NotFound, Unavailable
from tests.cluster.manifests import config
from tests.support import virtual
from tests.support.cluster.faults import Status
from tests.support.connected import connected
from tests.support.patience import PATIENCE
from tests.support.virtual import on_virtual_time

TERMS = Terms(lease_seconds=30, renew_seconds=20, retry_seconds=5)


class Wobbly:
    """An API server with one lease, behind a network that loses questions and answers and takes its time."""

    def __init__(self, seed: int, *, loss: float = 0.0, slow: float = 0.0) -> None:
        self.random, self.loss, self.slow = random.Random(seed), loss, slow
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.away: set[str] = set()
        """Candidates that the network cuts off."""

    def seen_by(self, identity: str) -> Any:
        """The cluster as a candidate knows it."""
        return _View(self, identity)

    async def carried_out(self, identity: str, act: Any) -> Any:
        await asyncio.sleep(self.random.random() * self.slow)
        if identity in self.away or self.random.random() < self.loss:
            raise Unavailable("lost on the way there")
        answer = act()
        await asyncio.sleep(self.random.random() * self.slow)
        if self.random.random() < self.loss:
            raise Unavailable("lost on the way back")
        return answer

    def read(self) -> dict[str, Any]:
        if self.lease is None:
            raise NotFound("no lease")
        return self.lease

    def write(self, manifest: dict[str, Any], *, new: bool) -> dict[str, Any]:
        if new and self.lease is not None:
            raise Exists("there is one")
        if not new and (
            self.lease is None
            or manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]
        ):
            raise Conflict("changed")
        self.version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**manifest, "metadata": metadata}
        return self.lease


class _View:
    def __init__(self, server: Wobbly, identity: str) -> None:
        self.server, self.identity, self.dice = server, identity, server.random.random

    async def get(self, *_: Any, **__: Any) -> Any:
        return await self.server.carried_out(self.identity, self.server.read)

    async def create(self, manifest: Any) -> Any:
        return await self.server.carried_out(self.identity, lambda: self.server.write(manifest, new=True))

    async def replace(self, manifest: Any) -> Any:
        return await self.server.carried_out(self.identity, lambda: self.server.write(manifest, new=False))


@contextlib.asynccontextmanager
async def candidates(
    server: Wobbly, count: int
) -> AsyncIterator[tuple[list[Leadership], list[asyncio.Task[None]]]]:
    found = [
        Leadership(server.seen_by(f"c{n}"), "s", "l", identity=f"c{n}", clock=virtual.clock, terms=TERMS)
        for n in range(count)
    ]
    tasks = [asyncio.create_task(each.run()) for each in found]
    try:
        yield found, tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def leaders(found: list[Leadership]) -> list[int]:
    return [number for number, each in enumerate(found) if each.leads]


@given(
    seed=st.integers(0, 10**6),
    loss=st.floats(0, 0.6),
    slow=st.floats(0, 15),
    cuts=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=8),
)
@settings(max_examples=60)
def test_never_two_at_once_and_epochs_only_grow(
    seed: int, loss: float, slow: float, cuts: list[tuple[int, bool]]
) -> None:
    async def story() -> None:
        server, epochs = Wobbly(seed, loss=loss, slow=slow), []
        async with candidates(server, 3) as (found, _):
            for who, away in [*cuts, (0, False), (1, False), (2, False)]:
                (server.away.add if away else server.away.discard)(f"c{who}")
                for _ in range(60):
                    await asyncio.sleep(1)
                    leading = leaders(found)
                    assert len(leading) <= 1
                    epochs += [found[each].epoch for each in leading]
            assert epochs == sorted(epochs)

    virtual.run(story())


@on_virtual_time
async def test_somebody_leads_soon_and_keeps_it() -> None:
    server = Wobbly(1)
    async with candidates(server, 3) as (found, _):
        await asyncio.sleep(6)
        first = leaders(found)
        assert len(first) == 1
        await asyncio.sleep(600)
        assert leaders(found) == first
        assert found[first[0]].epoch == 1
        assert server.version < 150  # about twelve writes a minute
        other = found[(first[0] + 1) % 3]
        assert other.holder == f"c{first[0]}"
        with pytest.raises(Conflict, match=f"does not lead; c{first[0]} does, and writes nothing"):
            other.check()
        found[first[0]].check()


@on_virtual_time
async def test_who_is_told_to_stop_gives_it_back_at_once() -> None:
    server = Wobbly(2)
    async with candidates(server, 2) as (found, tasks):
        await asyncio.sleep(6)
        first = leaders(found)[0]
        tasks[first].cancel()
        await asyncio.sleep(7)
        assert leaders(found) == [1 - first]
        assert found[1 - first].epoch == 2


@on_virtual_time
async def test_it_is_given_back_also_in_the_middle_of_a_renewal() -> None:
    server = Wobbly(2, slow=1.0)
    async with candidates(server, 1) as (found, tasks):
        async with asyncio.timeout(60):
            while not found[0].leads:
                await asyncio.sleep(0.1)
        version = server.version
        while server.version == version:  # until a renewal has arrived, and its answer is under way
            await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert server.lease is not None
        assert server.lease["spec"]["holderIdentity"] == ""


@on_virtual_time
async def test_who_is_cut_off_stops_before_another_begins() -> None:
    server = Wobbly(3)
    async with candidates(server, 2) as (found, _):
        await asyncio.sleep(6)
        first = leaders(found)[0]
        server.away.add(f"c{first}")
        ended = began = 0.0
        for second in range(60):
            await asyncio.sleep(1)
            if not ended and not found[first].leads:
                ended = second
            if not began and found[1 - first].leads:
                began = second
        assert 10 < ended < began < 45


@on_virtual_time
async def test_everybody_hears_of_changes() -> None:
    server = Wobbly(4)
    told: list[bool] = []
    one = Leadership(
        server.seen_by("a"), "s", "l", identity="a", clock=virtual.clock, terms=TERMS, changed=told.append
    )
    task = asyncio.create_task(one.run())
    await asyncio.sleep(10)
    server.away.add("a")
    await asyncio.sleep(40)
    server.away.clear()
    await asyncio.sleep(10)
    assert told == [True, False, True]
    assert one.epoch == 1  # it never changed hands
    task.cancel()
    await asyncio.wait({task})
    assert told == [True, False, True, False]


@on_virtual_time
async def test_one_that_ends_while_it_takes_the_lead_gives_it_back() -> None:
    server = Wobbly(4, slow=1.0)
    async with candidates(server, 1) as (_, tasks):
        async with asyncio.timeout(PATIENCE):
            while server.lease is None:
                await asyncio.sleep(0.001)
        tasks[0].cancel()  # its write was carried out, and it was not told yet
        await asyncio.wait(tasks)
        assert server.lease["spec"]["holderIdentity"] == ""


@on_virtual_time
async def test_who_follows_knows_where_the_leader_answers() -> None:
    server = Wobbly(4)
    found = [
        Leadership(
            server.seen_by(name), "s", "l", identity=name, clock=virtual.clock, terms=TERMS,
            address=f"http://{name}:8081",
        )
        for name in ("a", "b")
    ]  # fmt: skip
    assert [each.elsewhere for each in found] == ["", ""]
    tasks = [asyncio.create_task(each.run()) for each in found]
    await asyncio.sleep(10)
    (first,) = [each for each in found if each.leads]
    (other,) = [each for each in found if not each.leads]
    assert (first.elsewhere, other.elsewhere) == ("", f"http://{other.holder}:8081")
    tasks[found.index(first)].cancel()
    await asyncio.sleep(10)
    assert other.leads
    assert other.elsewhere == ""
    tasks[found.index(other)].cancel()
    await asyncio.wait(tasks)


def test_times_of_others_are_not_believed() -> None:
    spec = {"holderIdentity": "b", "leaseDurationSeconds": 30, "renewTime": "1999-01-01T00:00:00.000000Z"}
    lease = {"metadata": {"resourceVersion": "1"}, "spec": spec}
    seen = leases.look(None, lease, 100.0)
    assert not leases.may_take(seen, "a", TERMS, 130.0)
    assert leases.may_take(seen, "a", TERMS, 131.0)
    assert leases.look(seen, lease, 131.0) is seen
    renewed = {**lease, "metadata": {"resourceVersion": "2"}}
    assert not leases.may_take(leases.look(seen, renewed, 131.0), "a", TERMS, 140.0)


def test_hands_are_counted() -> None:
    first = leases.claim(None, "a", TERMS, 0.0)
    assert (first["leaseTransitions"], first["renewTime"]) == (1, "1970-01-01T00:00:00.000000Z")
    kept = leases.claim(Seen(first, "1", 0.0), "a", TERMS, 5.0)
    assert (kept["leaseTransitions"], kept["acquireTime"]) == (1, first["acquireTime"])
    other = leases.claim(Seen({**kept, "labelled": "by somebody"}, "2", 0.0), "b", TERMS, 60.0)
    assert (other["leaseTransitions"], other["acquireTime"]) == (2, other["renewTime"])
    assert other["labelled"] == "by somebody"


async def test_a_deposed_leader_writes_nothing_while_others_in_its_process_do() -> None:
    async with connected() as (there, cluster):
        one = Leadership(cluster, "default", "modelyard", identity="one", clock=lambda: 0.0, terms=TERMS)
        running = asyncio.create_task(one.run())
        async with asyncio.timeout(PATIENCE):
            while not one.leads:
                await asyncio.sleep(0.01)
        go, wrote = asyncio.Event(), asyncio.Event()

        async def reconcile() -> None:
            await cluster.apply(settings_of("a"))
            wrote.set()
            await go.wait()
            await cluster.apply(settings_of("b"))

        with one.fence():
            working = asyncio.create_task(reconcile())
        await wrote.wait()
        one._renewed = -1000.0  # as after a long sleep of the whole machine
        there.server.faults.add(Status(500), times=1, where=lambda method, _: method == "PATCH")
        go.set()
        with pytest.raises(Conflict, match="does not lead"):
            await working
        await cluster.apply(settings_of("c"))
        found = await cluster.list(kinds.CONFIG_MAP, namespace="default")
        assert [each["metadata"]["name"] for each in found.items] == ["a", "c"]
        running.cancel()
        await asyncio.wait({running})


def settings_of(name: str) -> dict[str, Any]:
    return {**config(name), "metadata": {"name": name, "namespace": "default"}}


async def test_against_the_api_server_with_failures() -> None:
    async with connected() as (there, cluster):
        terms = Terms(lease_seconds=2, renew_seconds=1.5, retry_seconds=0.1)

        def candidate(identity: str) -> Leadership:
            return Leadership(
                cluster, "default", "modelyard", identity=identity, clock=lambda: 0.0, terms=terms
            )

        one, two = candidate("one"), candidate("two")
        first = asyncio.create_task(one.run())
        await asyncio.sleep(0.3)
        second = asyncio.create_task(two.run())
        there.server.faults.add(Status(500), times=3, where=lambda method, path: "leases" in path)
        await asyncio.sleep(0.8)
        assert (one.leads, two.leads) == (True, False)
        lease = await cluster.get(kinds.LEASE, "modelyard", namespace="default")
        assert lease["spec"]["holderIdentity"] == "one"
        first.cancel()
        await asyncio.wait({first})
        await asyncio.sleep(0.5)
        assert (one.leads, two.leads, two.epoch) == (False, True, 2)
        second.cancel()
        await asyncio.wait({second})
        lease = await cluster.get(kinds.LEASE, "modelyard", namespace="default")
        assert lease["spec"]["holderIdentity"] == ""
