"""The cluster's own autoscaler decides how many pods there are, and the platform makes replicas of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import Options
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.control import applying
from modelyard.domain import conditions
from modelyard.domain.autoscaling import Autoscaling, Scaler
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Phase, Resources
from modelyard.domain.deployment import Stage as StageOf
from modelyard.domain.tallies import Reading, Tally
from modelyard.domain.views import State
from modelyard.store import events
from tests.control.world import ADMIN
from tests.kubernetes.stage import NAMESPACE, Stage, _replica, staged
from tests.support import inline
from tests.support.cluster.autoscaling import Autoscalers
from tests.support.cluster.measuring import Usage
from tests.support.cluster.verbs import MERGE
from tests.support.cluster.verbs import Options as Verb
from tests.support.virtual import on_virtual_time, run

METRICS = "metrics.k8s.io/v1beta1/pods"
KEDA = "keda.sh/v1alpha1/scaledobjects"
BY_CPU = Autoscaling(min=1, max=6, on="cpu:50%", down_seconds=5)
HALF_A_CORE = Resources(cpu="0.5", memory="1Gi")
CHURN = Key("default", "churn")


@pytest.fixture(autouse=True)
def _prepared() -> None:
    """The database's tables are made on a loop of their own."""
    inline.prepare()


@dataclass(slots=True)
class Load:
    """What the pods of the service use together, in cores."""

    cores: float = 0.25
    flights: float | None = 8.0
    """What a Prometheus answers."""


@dataclass(slots=True)
class Scene:
    """A stage with load."""

    stage: Stage
    load: Load

    async def deploy(self, autoscaling: Autoscaling = BY_CPU, **fields: Any) -> None:
        await self.stage.deploy(autoscaling=autoscaling, resources=HALF_A_CORE, **fields)

    def autoscalers(self, kind: str = "HorizontalPodAutoscaler") -> dict[str, dict[str, Any]]:
        return {each["metadata"]["name"]: each["spec"] for each in self.stage.objects(kind)}

    async def deployment(self) -> Deployment:
        found: Deployment = await self.stage.world.deployment()
        return found

    async def until_replicas(self, count: int, *, revision: int = 1, seconds: float = 60.0) -> Deployment:
        """Wait until so many replicas are ready, each a pod, and no pod is left over."""

        async def are_there() -> bool:
            deployment = await self.deployment()
            ready = [r for r in deployment.status.replicas if r.phase is Phase.READY]
            pods = [_replica(p) for p in self.stage.objects("Pod")]
            return (
                len(ready) == len(deployment.status.replicas) == count
                and {r.revision for r in ready} <= {revision}
                and sorted(r.name for r in ready) == sorted(map(str, pods))
                and conditions.state(deployment) is (State.RUNNING if count else State.ASLEEP)
            )

        await self.stage.until(are_there, seconds=seconds)
        return await self.deployment()

    async def said(self, reason: str) -> list[str]:
        async with self.stage.world.database.read() as tx:
            found = await events.list(tx, kind="deployment", newest_first=False)
        return [event.message for event in found if event.reason == reason]


@asynccontextmanager
async def scene(*resources: str, prometheus: str = "", dies_after: int = 0) -> AsyncIterator[Scene]:
    """A cluster that serves these resources beside the usual ones."""
    load = Load()
    options = Options(
        capabilities=Capabilities(version=(1, 37), resources=frozenset(resources)),
        settings=Settings(prometheus_url=prometheus),
    )
    async with staged(options=options, dies_after=dies_after) as stage:
        # Pods come and go as the cluster likes.
        stage.disturbed = True

        def measure(pod: dict[str, Any]) -> dict[str, Usage]:
            pods = max(len(stage.objects("Pod")), 1)
            return {names.SERVER: Usage(load.cores / pods, 1 << 20)}

        stage.server.measure = measure
        stage.control.autoscalers = Autoscalers(measure=measure, query=lambda text: load.flights, period=2.0)
        yield Scene(stage, load)


@on_virtual_time
async def test_pods_follow_the_clusters_autoscaler_and_each_is_a_replica() -> None:
    async with scene(METRICS) as there:
        await there.deploy()
        await there.until_replicas(1)
        [spec] = there.autoscalers().values()
        assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 6)
        there.load.cores = 1.0
        deployment = await there.until_replicas(4)
        scaled = next(c for c in deployment.status.conditions if c.type == "Scaled")
        assert (scaled.ok, scaled.reason) == (True, "Cluster")
        assert scaled.message.startswith("HPA: cpu ")
        there.load.cores = 0.2
        await there.until_replicas(1)
        assert (await there.said("Autoscaled"))[0].startswith("scaled 1 → ")
        deployment = await there.deployment()
        assert (deployment.generation, deployment.revision, deployment.spec.replicas) == (1, 1, 1)


@on_virtual_time
@pytest.mark.parametrize(
    "rule",
    [
        Autoscaling(min=2, max=2, on="cpu:50%"),
        Autoscaling(min=1, max=3, on="cpu:50%", by=Scaler.PLATFORM),
        Autoscaling(min=1, max=3, on="cpu:50%,concurrency:8"),
        Autoscaling(min=1, max=3, on="cpu:50%", cron="0~24:2"),
    ],
    ids=["equal bounds", "the platform's", "measured at the gateway", "by the clock"],
)
async def test_no_autoscaler_of_the_cluster_is_made(rule: Autoscaling) -> None:
    async with scene(METRICS, KEDA) as there:
        await there.deploy(rule, replicas=2)
        await there.until_replicas(2)
        await asyncio.sleep(8)
        assert not there.autoscalers()


@pytest.mark.parametrize("stage", [StageOf.TEST, StageOf.DEBUG])
def test_only_production_has_one(stage: StageOf) -> None:
    async def tried() -> None:
        async with scene(METRICS, KEDA) as there:
            spec = DeploymentSpec(model="churn@1", autoscaling=BY_CPU, resources=HALF_A_CORE)
            platform = there.stage.world.platform
            await applying.apply(platform, ADMIN, Key("default", "churn", stage), spec)
            await asyncio.sleep(8)
            assert there.stage.objects("Deployment")
            assert not there.autoscalers()
            assert not there.autoscalers("ScaledObject")

    run(tried())


@on_virtual_time
async def test_a_rollout_is_the_platforms_and_the_new_revision_is_followed_after_it() -> None:
    async with scene(METRICS) as there:
        await there.deploy()
        there.load.cores = 0.75
        await there.until_replicas(3)
        there.stage.least = 3
        await there.deploy(model="churn@2")
        await there.until_replicas(3, revision=2)

        async def followed() -> bool:
            return set(there.autoscalers()) == {"churn-r2"}

        await there.stage.until(followed, seconds=20)
        there.load.cores = 1.25
        await there.until_replicas(5, revision=2)
        there.stage.least = 0
        await there.stage.delete()
        await there.stage.gone()


@on_virtual_time
async def test_a_change_by_somebody_else_is_put_back() -> None:
    async with scene(METRICS) as there:
        await there.deploy()
        await there.until_replicas(1)
        cluster = there.stage.cluster
        kind, name = cluster.kind("HorizontalPodAutoscaler"), (NAMESPACE, "churn-r1")

        async def followed() -> bool:
            return bool(there.autoscalers())

        await there.stage.until(followed, seconds=20)
        cluster.patch(kind, name, MERGE, {"spec": {"maxReplicas": 50}}, Verb(manager="kubectl-edit"))

        async def put_back() -> bool:
            return bool(there.autoscalers()["churn-r1"]["maxReplicas"] == 6)

        await there.stage.until(put_back, seconds=20)
        assert any("kubectl-edit had changed spec.maxReplicas" in note for note in there.stage.notes), (
            there.stage.notes
        )
        cluster.delete(kind, name, Verb(manager="kubectl"))

        async def made_again() -> bool:
            return set(there.autoscalers()) == {"churn-r1"}

        await there.stage.until(made_again, seconds=20)


@on_virtual_time
async def test_bounds_that_are_edited_reach_it() -> None:
    async with scene(METRICS) as there:
        await there.deploy()
        there.load.cores = 1.0
        await there.until_replicas(4)
        await there.deploy(Autoscaling(min=1, max=2, on="cpu:50%", down_seconds=5))
        await there.until_replicas(2)
        assert there.autoscalers()["churn-r1"]["maxReplicas"] == 2
        await there.deploy(Autoscaling(), replicas=3)
        await there.until_replicas(3)
        assert not there.autoscalers()


@on_virtual_time
async def test_it_sleeps_without_one_and_wakes_to_it() -> None:
    async with scene(METRICS) as there:
        quiet = Reading(epoch="1", tallies=(Tally(route=str(CHURN), share=str(CHURN), codes={200: 1}),))
        there.stage.world.gateway.counted = quiet
        await there.deploy(Autoscaling(min=0, max=4, on="cpu:50%", idle_seconds=5))
        await there.until_replicas(1)
        await there.until_replicas(0)
        assert not there.autoscalers()
        there.stage.world.gateway.knock(str(CHURN), 1)
        there.load.cores = 0.5
        await there.until_replicas(2)
        assert there.autoscalers()["churn-r1"]["minReplicas"] == 1


@on_virtual_time
async def test_what_cannot_be_measured_changes_nothing_and_is_said() -> None:
    async with scene(METRICS) as there:
        await there.deploy()
        there.load.cores = 0.5
        await there.until_replicas(2)
        there.stage.control.autoscalers.measure = lambda pod: {}

        async def said() -> bool:
            found = (await there.deployment()).status.conditions
            scaled = next(c for c in found if c.type == "Scaled")
            return scaled.ok is False and "HPA cannot decide" in scaled.message

        await there.stage.until(said, seconds=120)
        await there.until_replicas(2)


@on_virtual_time
async def test_keda_follows_what_the_gateway_measures() -> None:
    async with scene(METRICS, KEDA, prometheus="http://prometheus.monitoring:9090") as there:
        await there.deploy(Autoscaling(min=1, max=6, on="concurrency:8,cpu:90%", by=Scaler.CLUSTER))
        await there.until_replicas(1)
        there.load.flights = 30.0
        await there.until_replicas(4)
        [scaled] = there.autoscalers("ScaledObject").values()
        assert [each["type"] for each in scaled["triggers"]] == ["prometheus", "cpu"]
        assert 'service="churn"' in scaled["triggers"][0]["metadata"]["query"]
        deployment = await there.deployment()
        assert "KEDA: " in next(c.message for c in deployment.status.conditions if c.type == "Scaled")
        await there.stage.delete()
        await there.stage.gone()
        assert not there.autoscalers("ScaledObject")


@on_virtual_time
async def test_the_platform_follows_what_the_cluster_cannot_and_says_what_it_would_need() -> None:
    async with scene(METRICS) as there:
        await there.deploy(Autoscaling(min=1, max=6, on="concurrency:8", by=Scaler.CLUSTER))
        await there.until_replicas(1)
        tally = Tally(route=str(CHURN), share=str(CHURN), codes={200: 1})
        [replica] = (await there.deployment()).status.replicas
        there.stage.world.gateway.counted = Reading(epoch="1", tallies=(tally,), inflight={replica.name: 24})
        deployment = await there.until_replicas(3)
        said = next(c.message for c in deployment.status.conditions if c.type == "Scaled")
        assert "the platform decides: concurrency would need KEDA" in said
        assert not there.autoscalers()


async def life(dies_after: int) -> list[str]:
    """A service that is followed, grows, is replaced and goes; where the control planes wrote to."""
    async with scene(METRICS, dies_after=dies_after) as there:
        await there.deploy()
        there.load.cores = 0.5
        await there.until_replicas(2)
        await there.deploy(model="churn@2")
        await there.until_replicas(2, revision=2)
        await there.stage.delete()
        await there.stage.gone()
        return there.stage.written


@pytest.mark.timeout(300)
def test_whenever_the_control_plane_dies_about_an_autoscaler_everything_comes_to_its_end() -> None:
    written = run(life(0))
    about = [number for number, path in enumerate(written, 1) if "horizontalpodautoscalers" in path]
    assert about
    # The word on the Deployment is written before one is made, and after it is removed.
    for after in sorted({number + step for number in about for step in (-1, 0, 1)}):
        try:
            run(life(after))
        except AssertionError as error:
            pytest.fail(f"dead after {written[after - 1]}: {error}", pytrace=False)
