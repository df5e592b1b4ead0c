"""`uninstall kubernetes`: what goes, what stays and is said to, and that it comes to an end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.revision import namespace_of
from modelyard.composing import identity
from modelyard.composing.identity import Claim
from modelyard.domain.errors import Conflict, NotFound, TimedOut
from modelyard.installing import applying, removing, rendering, values
from modelyard.installing.removing import Scope
from tests.kubernetes.worlds import World, world

SYSTEM, PROJECT = "modelyard-system", "modelyard-default"
OURS = {names.MANAGED_BY: names.MANAGER}
_EVERYTHING = Scope(services=True, data=True)


@dataclass
class Installed:
    """A cluster with the platform, a service that runs, and things of others."""

    here: World
    cluster: Cluster

    async def uninstall(self, scope: Scope, *, seconds: float = 20.0) -> removing.Plan:
        wanted = removing.plan(await removing.present(self.cluster), scope)
        await removing.remove(self.cluster, wanted, say=lambda _: None, timeout_seconds=seconds)
        return wanted

    def left(self) -> set[str]:
        """Everything that the cluster has, but for what is its own."""
        store = self.here.there.cluster.store
        found = {
            f"{kind.kind} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}"
            for kind in self.here.there.cluster.resources
            if kind.kind not in ("Node", "Event")
            for each in store.list(kind)
            if not each["metadata"].get("ownerReferences")
        }
        return {each for each in found if each not in self.before}

    before: frozenset[str] = frozenset()


def secret(name: str, namespace: str = SYSTEM, labels: dict[str, str] | None = None) -> Manifest:
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}


@pytest.fixture
async def installed(tmp_path: Path) -> AsyncIterator[Installed]:
    async with world(tmp_path) as here:
        cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.time)
        there = Installed(here, cluster)
        for level in ("low", "normal", "high"):  # what the world has from before is the installation's
            await cluster.delete(kinds.PRIORITY_CLASS, f"modelyard-serving-{level}")
        there.before = frozenset(there.left())
        manifests = rendering.manifests(values.of({"database": {"url": "postgresql://a:b@c/d"}}))
        await applying.install(cluster, manifests, say=lambda _: None, timeout_seconds=20)
        for name in ("modelyard-keys", "modelyard-router", "modelyard-routes-0"):
            await cluster.create(secret(name, labels=OURS))
        claim = Claim(id="aaaa", namespace=SYSTEM, prefix="modelyard", since="now", by="modelyard-0")
        await identity.require(cluster, claim)
        lease = {"metadata": {"name": "modelyard", "namespace": SYSTEM}, "spec": {}}
        await cluster.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})
        ports = {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 30010, "nodePort": 30010}]}
        metadata = {"name": "ports-default-churn", "namespace": SYSTEM, "labels": OURS}
        await cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports})
        await here.backend.start(here.launch("r1"))
        await here.until_ready("r1")
        await here.backend.close()
        await cluster.create(secret("theirs", "default"))
        yield there
        await cluster.close()


async def test_services_and_data_stay_and_are_said_to(installed: Installed) -> None:
    wanted = await installed.uninstall(Scope())
    kept = {each.partition(" ")[2] for each in installed.left() if SYSTEM in each}
    assert kept == {
        f"/{SYSTEM}", f"{SYSTEM}/modelyard", f"{SYSTEM}/modelyard-keys", f"{SYSTEM}/modelyard-database",
    }  # fmt: skip
    assert await installed.cluster.get(kinds.PERSISTENT_VOLUME_CLAIM, "modelyard", namespace=SYSTEM)
    assert len(installed.here.objects("Pod")) == 1
    assert await installed.cluster.get(kinds.PRIORITY_CLASS, "modelyard-serving-normal")
    said = "\n".join(wanted.stays)
    for part in ("modelyard-keys", "modelyard-database", "--data", f"{PROJECT} with 1 revisions", "--all"):
        assert part in said


async def test_what_stayed_is_gone_on_with_by_another_installation(installed: Installed) -> None:
    await installed.uninstall(Scope())
    before = await installed.cluster.get(kinds.SECRET, "modelyard-keys", namespace=SYSTEM)
    manifests = rendering.manifests(values.of({}))
    await applying.install(installed.cluster, manifests, say=lambda _: None, timeout_seconds=20)
    after = await installed.cluster.get(kinds.SECRET, "modelyard-keys", namespace=SYSTEM)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_nothing_of_ours_is_left_and_everything_of_others(installed: Installed) -> None:
    await installed.cluster.patch(
        kinds.NODE, "node-1", {"metadata": {"labels": {"modelyard.dev/classes": "set", "theirs": "yes"}}}
    )
    wanted = await installed.uninstall(_EVERYTHING)
    assert installed.left() == {"Secret default/theirs"}
    node = await installed.cluster.get(kinds.NODE, "node-1")
    assert [label for label in node["metadata"]["labels"] if "modelyard" in label] == []
    assert node["metadata"]["labels"]["theirs"] == "yes"
    assert set(wanted.namespaces) == {SYSTEM, PROJECT}
    with pytest.raises(NotFound, match="nothing of Modelyard"):
        await installed.uninstall(_EVERYTHING)


async def test_a_namespace_that_a_platform_outside_of_the_cluster_made_goes_too(installed: Installed) -> None:
    patch: dict[str, object] = {"metadata": {"labels": OURS}}
    await installed.cluster.patch(kinds.NAMESPACE, SYSTEM, patch)
    wanted = await installed.uninstall(_EVERYTHING)
    assert set(wanted.namespaces) == {SYSTEM, PROJECT}
    assert installed.left() == {"Secret default/theirs"}


async def test_what_another_installation_has_in_the_same_cluster_stays(installed: Installed) -> None:
    beside = Claim(id="bbbb", namespace="ml-system", prefix="ml", since="now", by="laptop-4711")
    await identity.require(installed.cluster, beside)
    await installed.cluster.apply(namespace_of("vision", "ml-vision"))
    labels = {**OURS, names.PROJECT: "vision"}
    await installed.cluster.create(secret("of-a-service", "ml-vision", labels))
    wanted = await installed.uninstall(_EVERYTHING)
    assert set(wanted.namespaces) == {SYSTEM, PROJECT}
    stays = {each for each in installed.left() if "PriorityClass" not in each}
    assert stays == {
        "Namespace /ml-system", "ConfigMap ml-system/modelyard-installation", "Namespace /ml-vision",
        "Secret ml-vision/of-a-service", "Secret default/theirs",
    }  # fmt: skip
    assert await installed.cluster.get(kinds.PRIORITY_CLASS, "modelyard-serving-normal")
    assert "another Modelyard, in the namespace ml-system" in "\n".join(wanted.stays)


async def test_namespaces_stay_for_what_others_have_in_them(installed: Installed) -> None:
    for namespace in (SYSTEM, PROJECT):
        await installed.cluster.create(secret("theirs", namespace))
    wanted = await installed.uninstall(_EVERYTHING)
    assert wanted.namespaces == ()
    assert installed.left() == {
        f"Namespace /{SYSTEM}", f"Namespace /{PROJECT}", "Secret default/theirs",
        f"Secret {SYSTEM}/theirs", f"Secret {PROJECT}/theirs",
    }  # fmt: skip
    said = [each for each in wanted.stays if "what others have" in each]
    assert [each.partition(",")[0] for each in said] == [f"namespace {PROJECT}", f"namespace {SYSTEM}"]
    assert all("secrets theirs" in each for each in said)


async def test_data_may_go_while_services_go_on(installed: Installed) -> None:
    await installed.uninstall(Scope(data=True))
    left = [each for each in installed.left() if SYSTEM in each]
    assert left == [f"PriorityClass /{SYSTEM}"], "pods of services still have theirs"
    assert len(installed.here.objects("Pod")) == 1


async def test_services_may_go_while_data_stays(installed: Installed) -> None:
    await installed.uninstall(Scope(services=True))
    assert [each for each in installed.left() if PROJECT in each or "PriorityClass" in each] == []
    assert await installed.cluster.get(kinds.PERSISTENT_VOLUME_CLAIM, "modelyard", namespace=SYSTEM)


async def test_the_control_plane_is_gone_before_what_it_would_make_again(installed: Installed) -> None:
    here = installed.here
    here.there.server.requests.clear()
    await installed.uninstall(_EVERYTHING)
    gone = [each for each in here.there.server.requests if each.startswith("DELETE")]
    assert gone[0].endswith("/deployments/modelyard")
    asked = here.there.server.requests
    looked = asked.index(next(each for each in asked if "/pods" in each))
    assert looked < asked.index(gone[1])


async def test_what_does_not_go_is_named_and_the_same_command_goes_on(installed: Installed) -> None:
    held = {"metadata": {"finalizers": ["example.com/theirs"]}}
    await installed.cluster.patch(kinds.DEPLOYMENT, "modelyard", held, namespace=SYSTEM)
    with pytest.raises(TimedOut, match=rf"not gone after 1 s: .*Deployment {SYSTEM}/modelyard.*finalizers"):
        await installed.uninstall(_EVERYTHING, seconds=1)
    await installed.cluster.patch(
        kinds.DEPLOYMENT, "modelyard", {"metadata": {"finalizers": None}}, namespace=SYSTEM
    )
    await installed.uninstall(_EVERYTHING)
    assert installed.left() == {"Secret default/theirs"}


async def test_what_helm_brought_is_helms_to_take_away(installed: Installed) -> None:
    marked = {"metadata": {"annotations": {"meta.helm.sh/release-name": "my"}}}
    await installed.cluster.patch(kinds.DEPLOYMENT, "modelyard", marked, namespace=SYSTEM)
    with pytest.raises(Conflict, match=f"helm uninstall my --namespace {SYSTEM}"):
        await installed.uninstall(Scope())


async def test_another_namespace_than_the_platforms_is_refused(installed: Installed) -> None:
    with pytest.raises(Conflict, match=f"in the namespace {SYSTEM}, not in other"):
        await removing.present(installed.cluster, "other")


async def called(installed: Installed, *arguments: str, code: int = 0) -> Any:
    """The command, and what it said."""
    path = str(installed.here.kubeconfig)
    command = [
        sys.executable,
        "-m",
        "modelyard",
        "-o",
        "json",
        "uninstall",
        "kubernetes",
        "--kubeconfig",
        path,
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


async def test_the_command_says_first_asks_and_then_does_it(installed: Installed) -> None:
    before = installed.left()
    said = await called(installed, "--dry-run", "--all", "--data")
    assert f"Namespace {SYSTEM}" in said["removed"]
    assert installed.left() == before
    refused = await called(installed, "--data", code=2)
    assert "--yes" in refused
    assert installed.left() == before
    said = await called(installed, "--all", "--data", "--yes")
    assert f"Namespace {PROJECT}" in said["removed"]
    assert installed.left() == {"Secret default/theirs"}
    assert "nothing of Modelyard" in await called(installed, code=3)
