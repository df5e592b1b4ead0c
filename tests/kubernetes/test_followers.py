"""A control plane that does not lead: it sees everything in the cluster, and changes nothing there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.domain.deployment import Phase
from modelyard.domain.errors import Conflict
from tests.backends.things import KEY
from tests.kubernetes.worlds import TOKEN, World, connected, world
from tests.support.patience import PATIENCE


def refuse() -> None:
    raise Conflict("two does not lead; one does, and writes nothing")


def follower(here: World) -> KubernetesBackend:
    """The same cluster as a control plane sees it that does not lead."""
    cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.monotonic)
    cluster.guard(refuse)
    options = Options(capabilities=Capabilities(version=(1, 37)), token=TOKEN, may_write=lambda: False)
    return KubernetesBackend(cluster, options, clock=time.time)


def written(here: World) -> list[str]:
    return [each for each in here.there.server.requests if not each.startswith(("GET", "WATCH"))]


async def test_it_sees_replicas_and_puts_nothing_right(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for name in ("r1", "r2"):
            await here.backend.start(here.launch(name))
        await here.until_ready("r1", "r2")
        await here.backend.close()  # nobody leads from now on
        other = follower(here)
        cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.monotonic)
        name = here.objects("Deployment")[0]["metadata"]["name"]
        await cluster.patch(kinds.DEPLOYMENT, name, {"spec": {"replicas": 5}}, namespace="modelyard-default")
        async with asyncio.timeout(PATIENCE):
            while len(here.objects("Pod")) < 5:
                await asyncio.sleep(0.05)
        here.there.server.requests.clear()
        for _ in range(20):
            seen = {each.name: each.phase for each in await other.observe(KEY)}
            await asyncio.sleep(0.02)
        assert seen == {"r1": Phase.READY, "r2": Phase.READY}
        assert await other.keys() == {KEY}
        assert len(await other.nodes()) == 1
        assert written(here) == []
        assert here.objects("Deployment")[0]["spec"]["replicas"] == 5
        leader = connected(here.kubeconfig)
        async with asyncio.timeout(PATIENCE):
            while here.objects("Deployment")[0]["spec"]["replicas"] != 2:
                await leader.observe(KEY)
        await leader.close()
        await cluster.close()
        await other.close()


async def test_whatever_it_is_told_to_do_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.backend.start(here.launch("r1"))
        await here.until_ready("r1")
        await asyncio.sleep(0.2)
        here.there.server.requests.clear()
        other = follower(here)
        for asked in (other.drain(KEY, "r1"), other.stop(KEY, "r1"), other.kill(KEY, "r1")):
            with pytest.raises(Conflict, match="does not lead; one does, and writes nothing"):
                await asked
        assert written(here) == []
        assert set(await here.seen()) == {"r1"}
        await other.close()


async def test_leases_and_what_is_only_asked_or_tried_are_no_writes(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.monotonic)
        cluster.guard(refuse)
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}
        await cluster.create({**lease, "metadata": {"name": "modelyard", "namespace": "default"}})
        settings = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default"},
        }
        await cluster.apply(settings, dry_run=True)
        for asked in (
            cluster.apply(settings),
            cluster.create(settings),
            cluster.delete(kinds.NODE, "node-1"),
        ):
            with pytest.raises(Conflict, match="writes nothing"):
                await asked
        assert [each["metadata"]["name"] for each in (await cluster.list(kinds.NODE)).items] == ["node-1"]
        await cluster.close()


async def test_it_sees_a_cluster_that_lacks_the_ladder_of_priorities(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        other = follower(here)
        assert await other.keys() == frozenset()
        assert await other.observe(KEY) == ()
        assert written(here) == []
        await other.close()
