"""A whole control plane over a cluster of the tests, on virtual time, that dies when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.backends.kubernetes import names, priorities
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.routing import RoutingObjects
from modelyard.control import applying, operations
from modelyard.control import loop as loops
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Hints
from modelyard.domain import conditions
from modelyard.domain.deployment import DeploymentSpec, Key
from modelyard.domain.views import State
from modelyard.gateway.gateway_api.publishing import GatewayApi
from modelyard.gateway.gateway_api.site import Offer, Place, Site
from modelyard.store import deployments
from tests.control import world as worlds
from tests.support.cluster import crds, gateways, inside, schemas
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.inside import Wire
from tests.support.cluster.kubelets import Part
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster
from tests.support.cluster.verbs import Options as Verb
from tests.support.inline import InlineDatabase
from tests.support.virtual import clock

CHURN = Key("default", "churn")
NAMESPACE = "modelyard-default"
KINDS = (
    "Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap", "Secret", "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
)  # fmt: skip
_PERIOD = 0.1
_BEHIND_SECONDS = 1.0
_PACE = loops.Pace(lease_seconds=2.0)
_QUICK = Part(starts_after=0.1, ready_after=0.3, stops_after=0.2)


class Silent:
    """Fronts of pods that nothing runs in."""

    async def get(self, address: str, path: str, *, whom: str) -> bytes:
        return b""

    async def state(self, uid: str, address: str) -> dict[str, Any]:
        return {}

    def forget(self, alive: frozenset[str]) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass(slots=True)
class Plane:
    """One control plane, from its start to its death."""

    stage: Stage
    dies_after: int = 0
    """Writes to the cluster, after which nobody hears the answer and it is gone; 0 for never."""
    writes: int = 0
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    last: str = ""
    task: asyncio.Task[None] | None = None

    async def before(self, method: str, path: str) -> None:
        """A dead process sends nothing."""
        if self.dead.is_set():
            await asyncio.Event().wait()
        if self.stage.weather is not None:
            await self.stage.weather(method, path)

    async def written(self, method: str, path: str) -> None:
        """Count, and die."""
        self.writes += 1
        self.stage.written.append(path)
        if self.writes == self.dies_after:
            self.last = f"{method} {path}"
            self.dead.set()
            await asyncio.Event().wait()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        stage = self.stage
        wire = Wire(stage.server, before=self.before, written=self.written)
        platform = replace(stage.world.platform, hints=Hints(), identity=f"control-{id(self)}")
        backend: Any = KubernetesBackend(
            inside.client(stage.server, clock=clock, wire=wire),
            stage.options,
            clock=clock,
            changed=lambda key: platform.hint("deployment", str(key)),
            note=lambda key, reason, message: stage.notes.append(f"{reason}: {message}"),
        )
        fronts: Any = Silent()
        backend._fronts = backend._replicas._fronts = fronts
        platform = replace(platform, backend=backend)
        if stage.straight:
            platform = replace(platform, gateway=_straight(stage, wire))
        try:
            await prepare(platform)
            await Controller(platform, pace=_PACE, alive=lambda pid: True).run()
        finally:
            await backend.close()


@dataclass(slots=True)
class Stage:
    """The cluster, the database and whoever controls them at the moment."""

    world: worlds.World
    server: Server
    control: Control
    plane: Plane | None = None
    deaths: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    """Where control planes wrote to, in the order of their writes."""
    notes: list[str] = field(default_factory=list)
    """What backends found worth an event."""
    most: int = 0
    """Pods that may live at once; 0 is any number."""
    disturbed: bool = False
    """Whether somebody else deletes pods."""
    least: int = 0
    """Pods that must be ready and have requests sent to them."""
    options: Options = field(default_factory=Options)
    """Of the control planes' backends."""
    led: list[tuple[float, set[str]]] = field(default_factory=list)
    """When routes led to which Services."""
    straight: bool = False
    """A gateway of the cluster's leads past the platform's own to the Services."""
    weather: Callable[[str, str], Awaitable[None]] | None = None
    """What happens to requests on their way to the API server."""

    @property
    def cluster(self) -> Cluster:
        return self.server.cluster

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """What there is of ours in the namespace."""
        found = self.cluster.store.list(self.cluster.kind(kind), NAMESPACE)
        return [each for each in found if _is_ours(each)]

    async def deploy(self, **fields: Any) -> None:
        """As a user, who tries again."""
        spec = DeploymentSpec(**{"model": "churn@1", "drain_seconds": 1.0, **fields})
        await applying.apply(self.world.platform, worlds.ADMIN, CHURN, spec)

    async def scale(self, replicas: int) -> None:
        await operations.scale(self.world.platform, worlds.ADMIN, CHURN, replicas)

    async def delete(self) -> None:
        await operations.delete(self.world.platform, worlds.ADMIN, CHURN)

    async def settled(self, *, seconds: float = 120.0) -> None:
        """Wait until what was asked for last is what runs."""
        await self.until(self._is_settled, seconds=seconds)

    async def gone(self, *, seconds: float = 120.0) -> None:
        """Wait until nothing at all is left."""

        async def gone() -> bool:
            async with self.world.database.read() as tx:
                stored = await deployments.get(tx, CHURN)
            return stored is None and not self.left()

        await self.until(gone, seconds=seconds)

    def left(self) -> dict[str, list[str]]:
        """What there is of each kind."""
        found = {kind: [each["metadata"]["name"] for each in self.objects(kind)] for kind in KINDS}
        return {kind: each for kind, each in found.items() if each}

    async def until(self, condition: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Let time pass, and raise what went wrong."""
        end = clock() + seconds
        while not await condition():
            if clock() > end:
                raise AssertionError(f"not within {seconds} s; died: {self.deaths}; there is {self.left()}")
            await asyncio.sleep(0.25)
            assert not self.violations, (self.violations, self.deaths)

    async def reign(self, dies_after: int = 0) -> None:
        """One control plane after another; the first dies after so many writes, the others live on."""
        while True:
            plane = self.plane = Plane(self, dies_after)
            task = plane.task = asyncio.create_task(plane.run())
            dies = asyncio.create_task(plane.dead.wait())
            try:
                await asyncio.wait({task, dies}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                dies.cancel()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if not plane.dead.is_set():
                self.violations.append(f"a control plane ended by itself: {task}")
                return
            self.deaths.append(plane.last)
            dies_after = 0
            await asyncio.sleep(0.3)

    async def live(self) -> None:
        """The cluster's own control loops; looks for what must never be."""
        while True:
            self.control.settle()
            self._look()
            await asyncio.sleep(_PERIOD)

    def _look(self) -> None:
        pods = [p for p in self.objects("Pod") if "deletionTimestamp" not in p["metadata"]]
        if self.most and len(pods) > self.most:
            said = [p["metadata"]["name"] for p in pods]
            self.violations.append(f"{len(pods)} pods live, at most {self.most} may: {said}")
        named = Counter(map(_replica, pods))
        self._look_at_routes()
        if self.straight:
            self._look_at_services()
        twins = [name for name, count in named.items() if name and count > 1]
        if twins:
            self.violations.append(f"twins of {twins}")

    def _look_at_routes(self) -> None:
        """What is told to go gets no requests any more, and enough others do."""
        routed = {target.replica for route in self.world.gateway.applied for target in route.targets}
        there = {_replica(p): p for p in self.objects("Pod") if _replica(p)}
        stopped = sorted(n for n in routed if n in there and "deletionTimestamp" in there[n]["metadata"])
        if stopped and not self.disturbed:
            self.violations.append(f"{stopped} are told to go and have requests sent to them")
        serving = [n for n in routed if n in there and _is_ready(there[n])]
        if len(serving) < self.least:
            self.violations.append(f"{serving} serve, {self.least} must")

    def _look_at_services(self) -> None:
        """Whoever proxies lead to that are a second behind has somebody who answers."""
        routes = self.cluster.store.list(self.cluster.kind("HTTPRoute"))
        rules = [rule for route in routes for rule in route["spec"]["rules"]]
        backends = [each for rule in rules for each in rule["backendRefs"] if each["namespace"] == NAMESPACE]
        self.led.append((clock(), {each["name"] for each in backends}))
        while len(self.led) > 1 and self.led[1][0] <= clock() - _BEHIND_SECONDS:
            self.led.pop(0)
        for name in sorted(self.led[0][1]):
            place = (NAMESPACE, f"{name}-slice")
            found = self.cluster.store.get(self.cluster.kind("EndpointSlice"), place) or {}
            if not any(each["conditions"]["ready"] for each in found.get("endpoints", ())):
                self.violations.append(f"requests go to {name}, which has nobody")

    async def _is_settled(self) -> bool:
        deployment = await self.world.deployment()
        status, want = deployment.status, deployment.spec.replicas
        pods = self.objects("Pod")
        ready = [
            p
            for p in pods
            if _is_ready(p) and names.revision_of(p["metadata"]["labels"]) == deployment.revision
        ]
        return (
            status.observed_generation == deployment.generation
            and conditions.state(deployment) in (State.RUNNING, State.OFFLINE)
            and len(ready) == len(pods) == want
            and len(self.objects("Deployment")) == (1 if want else 0)
            and {r.name for r in status.replicas} == await self.world.gateway.routed()
        )


def _straight(stage: Stage, wire: Wire) -> GatewayApi:
    """A gateway of the cluster's before the world's own."""
    objects = RoutingObjects(inside.client(stage.server, clock=clock, wire=wire), "modelyard-system")

    async def site() -> Site:
        features = await objects.offered("envoy") or frozenset()
        router = Place(namespace="modelyard-system", name="router", port=80)
        return Site(
            namespace="modelyard-system",
            offer=Offer(gateway_class="envoy", features=features, router=router, direct=True),
            namespace_of=lambda project: f"modelyard-{project}",
            service_of=lambda service, revision: names.revision_name(CHURN, revision),
        )

    return GatewayApi(site=site, applier=objects, router=stage.world.gateway, clock=clock)


def _replica(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(names.REPLICA, ""))


def _is_ours(manifest: dict[str, Any]) -> bool:
    metadata = manifest["metadata"]
    return (metadata.get("labels") or {}).get(names.MANAGED_BY) == names.MANAGER


def _is_ready(pod: dict[str, Any]) -> bool:
    said = pod.get("status", {}).get("conditions", ())
    alive = "deletionTimestamp" not in pod["metadata"]
    return alive and any(c["type"] == "Ready" and c["status"] == "True" for c in said)


@contextlib.asynccontextmanager
async def staged(
    *,
    dies_after: int = 0,
    script: Callable[[dict[str, Any]], Part] = lambda pod: _QUICK,
    options: Options | None = None,
    straight: bool = False,
) -> AsyncIterator[Stage]:
    """Everything at work."""
    more = (*crds.KEDA, *(crds.GATEWAY_API if straight else ()))
    cluster = Cluster(schemas.load("1.37", more), clock=clock, extra=[resource for resource, _ in more])
    control = Control(cluster, script)
    add_node(cluster, "node-1", labels={"modelyard.dev/role-deploy": "true"})
    for name in (NAMESPACE, "modelyard-system"):
        cluster.create(cluster.kind("Namespace"), "", {"metadata": {"name": name}}, Verb(manager="test"))
    for rung in priorities.LADDER:
        cluster.create(cluster.kind("PriorityClass"), "", priorities.manifest(rung), Verb(manager="test"))
    database = InlineDatabase()
    world = worlds.build(database)
    if straight:
        controller = gateways.IMPLEMENTATIONS["envoy"].controller
        value = {"metadata": {"name": "envoy"}, "spec": {"controllerName": controller}}
        cluster.create(cluster.kind("GatewayClass"), "", value, Verb(manager="test"))
        control.settle()
    stage = Stage(world, Server(cluster), control, options=options or Options(), straight=straight)
    await prepare(world.platform)
    await worlds.publish(database, "churn", 2)
    tasks = [asyncio.create_task(stage.live()), asyncio.create_task(stage.reign(dies_after))]
    try:
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()
