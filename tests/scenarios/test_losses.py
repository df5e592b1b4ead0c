"""Replicas, nodes and the control plane go away under load."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from modelyard import Client
from modelyard.domain.deployment import Phase, Replica
from modelyard.domain.views import State
from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.things import ROW, publish_iris


def ready(engine: Engine, service: str, count: int) -> bool:
    return sum(replica.phase is Phase.READY for replica in engine.replicas(service)) == count


@pytest.mark.traffic
async def test_a_replica_that_is_evicted_is_replaced_and_no_request_lost(engine: Engine) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("nobody evicts processes of one machine; a replica that is killed is the next scenario")
    with engine.client() as client:
        publish_iris(client, "evicted")
        token = client.deploy("evicted@1", name="evicted", replicas=2, public=engine.straight).token
    first = engine.replicas("evicted")[0]
    load = engine.load("evicted", token, ROW)
    async with load.running() as outcome:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(engine.lose, "evicted", first)
        await asyncio.to_thread(until, lambda: _others(engine, "evicted", first.address), "another one came")
        await asyncio.sleep(0.5)
    assert outcome.failed == 0, outcome.failures[:20]
    with engine.client() as client:
        client.undeploy("evicted")


def _others(engine: Engine, service: str, address: str) -> bool:
    return ready(engine, service, 2) and address not in [each.address for each in engine.replicas(service)]


@pytest.mark.traffic
async def test_a_node_is_drained_and_no_request_lost(engine: Engine) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("there is one machine, and its end is that of the platform")
    engine.require_own("draining a node would move what is not ours")
    with engine.client() as client:
        publish_iris(client, "drained")
        token = client.deploy("drained@1", name="drained", replicas=2, public=engine.straight).token
    (pod, *_) = [each for each in engine.objects("pods", "drained") if each["spec"].get("nodeName")]
    node = pod["spec"]["nodeName"]
    load = engine.load("drained", token, ROW)
    async with load.running() as outcome:
        await asyncio.sleep(0.5)
        words = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
        await asyncio.to_thread(engine.kubectl, *words)
        await asyncio.to_thread(until, lambda: ready(engine, "drained", 2), "two are ready elsewhere")
        await asyncio.sleep(0.5)
    engine.kubectl("uncordon", node)
    assert outcome.failed == 0, outcome.failures[:20]
    with engine.client() as client:
        client.undeploy("drained")


async def test_a_node_that_is_lost_is_done_without(engine: Engine) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("there is one machine, and its end is that of the platform")
    engine.require_own("nodes are not switched off")
    with engine.client() as client:
        publish_iris(client, "lost")
        token = client.deploy("lost@1", name="lost", replicas=2).token
    node = next(iter(nodes_of(engine, "lost")))
    load = engine.load("lost", token, ROW, rate=20)
    async with load.running() as outcome:
        await asyncio.sleep(0.5)
        with engine.without(node):
            said = "two are ready elsewhere"
            await asyncio.to_thread(until, lambda: is_without(engine, "lost", node), said, seconds=120)
            before = outcome.failed
            await asyncio.sleep(2.0)
            assert outcome.failed == before, "nothing fails once they are replaced"
        await asyncio.to_thread(until, lambda: not leaving(engine, "lost"), "those of the node are gone")
        assert ready(engine, "lost", 2)
    assert outcome.total > 50
    with engine.client() as client:
        client.undeploy("lost")


def nodes_of(engine: InCluster, service: str) -> set[str]:
    """Where pods of a service are that stay."""
    pods = [each for each in engine.objects("pods", service) if "deletionTimestamp" not in each["metadata"]]
    return {each["spec"]["nodeName"] for each in pods if each["spec"].get("nodeName")}


def is_without(engine: InCluster, service: str, node: str) -> bool:
    return node not in nodes_of(engine, service) and ready(engine, service, 2)


def leaving(engine: InCluster, service: str) -> list[str]:
    pods = [each["metadata"] for each in engine.objects("pods", service)]
    return [each["name"] for each in pods if "deletionTimestamp" in each]


def is_another(engine: Engine, service: str, before: Replica) -> bool:
    """Whether none of its replicas is the process that this one was."""
    found = [(each.name, each.started_at, each.worker_restarts) for each in engine.replicas(service)]
    return (before.name, before.started_at, before.worker_restarts) not in found


async def test_a_replica_that_crashes_comes_back(engine: Engine) -> None:
    with engine.client() as client:
        publish_iris(client, "crashes")
        token = client.deploy("crashes@1", name="crashes", replicas=2).token
        victim = engine.replicas("crashes")[0]
        load = engine.load("crashes", token, ROW)
        async with load.running() as outcome:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(engine.crash, "crashes", victim)
            await asyncio.to_thread(until, lambda: is_another(engine, "crashes", victim), "it is gone")
            await asyncio.to_thread(until, lambda: ready(engine, "crashes", 2), "two are ready again")
            before = outcome.failed
            await asyncio.sleep(2.0)
        assert outcome.failed == before, "nothing fails once it is back"
        assert outcome.total > 100
        client.undeploy("crashes")


async def test_the_control_plane_dies_and_whoever_comes_after_finds_all_as_it_was(engine: Engine) -> None:
    with engine.client() as client:
        publish_iris(client, "adopted")
        token = client.deploy("adopted@1", name="adopted", replicas=2).token
    before = {(each.name, each.address or each.pid) for each in engine.replicas("adopted")}
    load = engine.load("adopted", token, ROW, rate=30)
    async with load.running() as outcome:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(engine.platform.kill)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(engine.platform.start)
        await asyncio.to_thread(until, lambda: ready(engine, "adopted", 2), "both are known again")
        await asyncio.sleep(1.0)
    assert outcome.failed == 0, outcome.failures[:20]
    assert {(each.name, each.address or each.pid) for each in engine.replicas("adopted")} == before
    with engine.client() as client:
        client.undeploy("adopted")


async def test_an_api_server_that_hangs_makes_what_is_known_stale_and_nothing_failed(engine: Engine) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("there is no API server between the platform and its processes")
    engine.require_own("its API server is not stopped")
    with engine.client() as client:
        publish_iris(client, "stale")
        token = client.deploy("stale@1", name="stale", replicas=2).token
        load = engine.load("stale", token, ROW, rate=30)
        assert "API server" not in engine.cli("explain", "stale")
        before = datetime.now(UTC)
        async with load.running() as outcome:
            with engine.away():
                said = "the platform says that the cluster does not answer"
                await asyncio.to_thread(until, lambda: answers(client) == "no", said)
                assert client.deployments.get("stale").state is State.RUNNING
                told = "explain says that what is shown is old"
                await asyncio.to_thread(until, lambda: explained_as_old(engine, before), told)
            await asyncio.to_thread(until, lambda: answers(client) == "yes", "the cluster answers again")
        assert outcome.failed == 0, outcome.failures[:20]
        await asyncio.to_thread(until, lambda: ready(engine, "stale", 2), "both are ready")
        until(lambda: "API server" not in engine.cli("explain", "stale"), "explain says so no longer")
        client.undeploy("stale")


def explained_as_old(engine: Engine, before: datetime) -> bool:
    """Whether `explain` says that the API server is silent, and since when: about `before`, or later."""
    said = " ".join(engine.cli("explain", "stale").split())
    since = re.search(r"API server (?:does not answer|cannot be read): .+ was seen at (\S+) or earlier", said)
    if since is None:
        return False
    moment = datetime.fromisoformat(since[1])
    assert before - timedelta(seconds=30) <= moment <= datetime.now(UTC), said
    return True


def answers(client: Client) -> str:
    return client.system().cluster.get("reachable", "")
