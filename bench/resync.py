"""A control plane that finds a thousand deployments in a cluster: time, memory, and calls at rest."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import Table, add, measured
from modelyard.backends.base import Guest, Launch
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.desired import Desired, Settings
from modelyard.backends.kubernetes.render.revision import anchor, revision
from modelyard.backends.kubernetes.upkeep import remembered
from modelyard.domain.deployment import DeploymentSpec, Key
from modelyard.domain.model import Artifact, File, Format, Serialization
from tests.support.cluster import inside, schemas, verbs
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster
from tests.support.cluster.verbs import Options as How
from tests.support.virtual import VirtualLoop, clock

DEPLOYMENTS = 1000
MINUTES = 10
SPACE = "modelyard-default"


async def measure(rounds: int) -> list[Table]:
    """One table; the API server is in this process, without a network, and its part of the time is in it."""
    return await asyncio.to_thread(_measured, rounds)


def _measured(rounds: int) -> list[Table]:
    table = measured(f"A control plane finds {DEPLOYMENTS} deployments with one replica each")
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        server = runner.run(_filled())
        found = [runner.run(_resync(server)) for _ in range(max(1, min(rounds, 3)))]
    for name, unit in (
        ("know everything", "ms"),
        ("observe every deployment", "ms"),
        ("look for drift", "ms"),
    ):
        add(table, name, [each[name] for each in found], unit)
    add(table, "memory of what is known", [each["memory"] for each in found], "MB")
    add(table, "calls to begin", [each["begin"] for each in found], "")
    add(table, "calls a minute at rest", [each["rest"] for each in found], "")
    return [table]


async def _filled() -> Server:
    cluster = Cluster(schemas.load("1.37"), clock=clock)
    cluster.create(cluster.kind("Namespace"), "", {"metadata": {"name": SPACE}}, How(manager="bench"))
    for number in range(DEPLOYMENTS):
        launch = _launch(number)
        desired = Desired(launch=launch, settings=Settings())
        held = _apply(cluster, anchor(desired))
        objects = remembered(
            revision(desired, Capabilities(version=(1, 37)), anchor_uid=held["metadata"]["uid"])
        )
        for each in objects:
            made = _apply(cluster, each)
        wanted = json.dumps({launch.replica: {"at": 0, "gpus": []}})
        patch = {"metadata": {"annotations": {names.REPLICAS: wanted}}, "spec": {"replicas": 1}}
        where = (SPACE, made["metadata"]["name"])
        cluster.patch(cluster.kind("Deployment"), where, verbs.MERGE, patch, How(manager=names.SCALE_MANAGER))
        cluster.store.put(cluster.kind("Pod"), _pod(number, launch, made))
    return Server(cluster)


def _apply(cluster: Cluster, manifest: Manifest) -> Manifest:
    where = (SPACE, manifest["metadata"]["name"])
    options = How(manager=names.MANAGER, force=True)
    found: Manifest = cluster.patch(cluster.kind(manifest["kind"]), where, verbs.APPLY, manifest, options)
    return found


def _launch(number: int) -> Launch:
    artifact = Artifact(
        name="model", format=Format.SKLEARN, serialization=Serialization.JOBLIB, entry="model.joblib",
        files=(File(path="model.joblib", size=1, sha256="0" * 64),), framework_version="1.5.2",
    )  # fmt: skip
    return Launch(
        key=Key("default", f"demo-{number}"), replica=f"demo-{number}-a", revision=1, model="demo",
        version="1", spec=DeploymentSpec(model="demo@1"),
        guest=Guest(artifact=artifact, path=Path("/models"), interpreter="python", runtime="host"),
    )  # fmt: skip


def _pod(number: int, launch: Launch, made: Manifest) -> Manifest:
    metadata = {
        "name": f"{made['metadata']['name']}-abcde", "namespace": SPACE, "uid": f"pod-{number}",
        "creationTimestamp": "2026-11-27T16:00:00Z",
        "labels": made["spec"]["template"]["metadata"]["labels"],
        "annotations": {names.REPLICA: launch.replica},
    }  # fmt: skip
    server = {"name": names.SERVER, "ready": True, "started": True, "restartCount": 0, "image": "x"}
    server["state"] = {"running": {"startedAt": "2026-11-27T16:00:00Z"}}
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [server],
    }
    spec = made["spec"]["template"]["spec"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


class _Silent:
    """Fronts that say nothing, at once."""

    async def state(self, uid: str, address: str) -> Mapping[str, Any]:
        return {}

    def forget(self, alive: frozenset[str]) -> None:
        return None

    async def close(self) -> None:
        return None


async def _resync(server: Server) -> dict[str, float]:
    """One control plane, from its first look."""
    server.requests.clear()
    gc.collect()
    tracemalloc.start()
    backend = KubernetesBackend(inside.client(server, clock=clock), Options(), clock=clock)
    fronts: Any = _Silent()
    backend._fronts = backend._replicas._fronts = fronts
    await backend.keys()
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    await backend.close()
    began = time.perf_counter()
    backend = KubernetesBackend(inside.client(server, clock=clock), Options(), clock=clock)
    backend._fronts = backend._replicas._fronts = fronts
    keys = await backend.keys()
    known = time.perf_counter()
    assert len(keys) == DEPLOYMENTS
    for key in sorted(keys):
        assert len(await backend.observe(key)) == 1
    observed = time.perf_counter()
    await backend._upkeep.sweep()
    swept = time.perf_counter()
    begin = len(server.requests) / 2
    await asyncio.sleep(5)
    server.requests.clear()
    await asyncio.sleep(60 * MINUTES)
    rest = len(server.requests) / MINUTES
    await backend.close()
    writes = Counter(each.partition(" ")[0] for each in server.requests)
    assert not writes.keys() - {"GET", "WATCH"}, writes
    return {
        "know everything": (known - began) * 1e3,
        "observe every deployment": (observed - known) * 1e3,
        "look for drift": (swept - observed) * 1e3,
        "memory": memory,
        "begin": begin,
        "rest": rest,
    }
