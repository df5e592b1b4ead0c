"""Finding out what a cluster can do: what fails is unknown, and never a reason to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from modelyard.backends.kubernetes import drift, queues
from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.gpus.claims import with_devices
from modelyard.backends.kubernetes.gpus.facts import with_nodes
from modelyard.backends.kubernetes.kinds import (
    DEVICE_CLASS,
    GATEWAY_CLASS,
    NODE,
    RESOURCE_SLICE,
    RUNTIME_CLASS,
    Manifest,
)
from modelyard.backends.kubernetes.render import pod
from modelyard.domain.errors import Forbidden, Invalid, ModelyardError

T = TypeVar("T")
_RUNTIME = "nvidia"


async def probe(cluster: Cluster, *, known: Capabilities, gateway_class: str = "") -> Capabilities:
    """What the cluster can do now; `known` stands for what cannot be found out. Raises nothing.

    What is tried, without being made, is tried in the namespace that the access names.
    """
    asking, namespace = _Asking(cluster), cluster.access.namespace
    resources = await asking.of("served kinds", cluster.resources(), known.resources)
    found = replace(known, resources=resources, unknown=())
    found = replace(found, version=await asking.of("version", cluster.version(), known.version))
    if found.has_gateway:
        found = replace(found, **await _gateway(asking, cluster, gateway_class))
    found = replace(
        found,
        takes_images=await asking.accepted("image volumes", pod_with_image(namespace)),
        gpus=await _gpus(asking, cluster, found),
    )
    nodes = await asking.items("nodes", NODE)
    slices = await asking.items("resource slices", RESOURCE_SLICE) if found.has_dra else ()
    return replace(with_devices(with_nodes(found, nodes), slices), unknown=tuple(asking.unknown))


def pod_with_image(namespace: str) -> Manifest:
    """A pod that mounts an image, as restricted as replicas are; it is never made."""
    container = {
        "name": "c",
        "image": "probe",
        "securityContext": pod.restricted(),
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "modelyard-probe", "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": pod.security(),
            "containers": [container],
            "volumes": [{"name": "v", "image": {"reference": "probe"}}],
        },
    }


class _Asking:
    """Asks, and remembers what was not answered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.unknown: list[tuple[str, str]] = []

    async def of(self, what: str, answer: Awaitable[T], otherwise: T) -> T:
        """The answer, or else what was known before."""
        try:
            return await answer
        except ModelyardError as error:
            self.unknown.append((what, error.message))
            return otherwise

    async def items(self, what: str, kind: Any) -> tuple[Manifest, ...]:
        """All objects of a kind; none when they may not be seen."""
        try:
            return (await self._cluster.list(kind)).items
        except ModelyardError as error:
            self.unknown.append((what, error.message))
            return ()

    async def accepted(self, what: str, manifest: Manifest) -> bool | None:
        """Whether a cluster would take this object as it is written, without making it."""
        try:
            answer = await self._cluster.create(manifest, dry_run=True)
        except Forbidden as error:
            self.unknown.append((what, error.message))
            return None
        except Invalid:
            return False
        except ModelyardError as error:
            self.unknown.append((what, error.message))
            return None
        # Where a feature is off, a server drops its fields without a word.
        return drift.holds(answer.get("spec"), manifest["spec"])


async def _gateway(asking: _Asking, cluster: Cluster, wanted: str) -> dict[str, Any]:
    """The class that routes are made for, and what it says it supports."""
    classes = await asking.items("gateway classes", GATEWAY_CLASS)
    usable = {each["metadata"]["name"]: each for each in classes if _is_accepted(each)}
    name = wanted or min(usable, default="")
    if name not in usable:
        return {"gateway_class": "", "gateway_features": frozenset()}
    said = (usable[name].get("status") or {}).get("supportedFeatures") or ()
    features = frozenset(each["name"] if isinstance(each, Mapping) else str(each) for each in said)
    return {"gateway_class": name, "gateway_features": features}


async def _gpus(asking: _Asking, cluster: Cluster, found: Capabilities) -> Gpus:
    runtimes = {each["metadata"]["name"] for each in await asking.items("runtime classes", RUNTIME_CLASS)}
    devices = await asking.items("device classes", DEVICE_CLASS) if found.has_dra else ()
    return replace(
        found.gpus,
        runtime_class=_RUNTIME if _RUNTIME in runtimes else "",
        cdi="nvidia-cdi" in runtimes,
        device_classes=frozenset(each["metadata"]["name"] for each in devices),
        extended=any(
            (each.get("spec") or {}).get("extendedResourceName") == "nvidia.com/gpu" for each in devices
        ),
    )


def _is_accepted(manifest: Manifest) -> bool:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Accepted" and each["status"] == "True" for each in conditions)


def described(found: Capabilities, *, cluster_queue: str = "") -> dict[str, str]:
    """What a cluster can do, in words, for its status and for `doctor`."""
    gpus = found.gpus
    ways = [
        *sorted(gpus.resources),
        *(["HAMi"] if gpus.hami else []),
        *(["KAI scheduler"] if gpus.kai else []),
        *(["claims of gpu.nvidia.com (DRA)"] if gpus.claims and gpus.devices else []),
    ]
    said = {
        "gateway class": found.gateway_class or "none",
        "KEDA": _yes(found.has_keda),
        "Kueue": _yes(found.has_kueue),
        "queue of tasks": queues.told(cluster_queue, found),
        "metrics of pods": _yes(found.has_metrics),
        "dynamic resource allocation": _yes(found.has_dra),
        "image volumes": _yes(found.mounts_images),
        "GPU resources": ", ".join(ways) or "none",
        "GPU cards": ", ".join(sorted(gpus.products | {each.product for each in gpus.devices})) or "none",
    }
    return said | {f"unknown: {what}": why for what, why in found.unknown}


def _yes(known: bool | None) -> str:
    return "unknown" if known is None else "yes" if known else "no"
