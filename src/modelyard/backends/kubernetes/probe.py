"""Finding out what a cluster can do: what fails is unknown, and never a reason to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.gpus.facts import with_nodes
from modelyard.backends.kubernetes.kinds import DEVICE_CLASS, GATEWAY_CLASS, NODE, RUNTIME_CLASS, Manifest
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
        scales_to_zero=await asking.accepted("scaling to zero", scaler_to_zero(namespace)),
        gpus=await _gpus(asking, cluster, found),
    )
    nodes = await asking.items("nodes", NODE)
    return replace(with_nodes(found, nodes), unknown=tuple(asking.unknown))


def pod_with_image(namespace: str) -> Manifest:
    """A pod that mounts an image; it is never made."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "modelyard-probe", "namespace": namespace},
        "spec": {
            "containers": [
                {"name": "c", "image": "probe", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
            ],
            "volumes": [{"name": "v", "image": {"reference": "probe"}}],
        },
    }


def scaler_to_zero(namespace: str) -> Manifest:
    """An autoscaler that goes down to none; it is never made."""
    metric = {"metric": {"name": "modelyard"}, "target": {"type": "AverageValue", "averageValue": "1"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "modelyard-probe", "namespace": namespace},
        "spec": {
            "minReplicas": 0,
            "maxReplicas": 1,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "probe"},
            "metrics": [{"type": "External", "external": metric}],
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
        return _holds(answer.get("spec"), manifest["spec"])


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
    )


def _is_accepted(manifest: Manifest) -> bool:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Accepted" and each["status"] == "True" for each in conditions)


def _holds(answer: Any, asked: Any) -> bool:
    """Whether everything that was asked for is in the answer."""
    if isinstance(asked, Mapping):
        return isinstance(answer, Mapping) and all(_holds(answer.get(k), v) for k, v in asked.items())
    if isinstance(asked, list):
        return isinstance(answer, list) and len(answer) >= len(asked) and all(map(_holds, answer, asked))
    return bool(answer == asked)


def described(found: Capabilities) -> dict[str, str]:
    """What a cluster can do, in words, for its status and for `doctor`."""
    gpus = found.gpus
    ways = [
        *sorted(gpus.resources),
        *(["HAMi"] if gpus.hami else []),
        *(["KAI scheduler"] if gpus.kai else []),
    ]
    said = {
        "gateway class": found.gateway_class or "none",
        "KEDA": _yes(found.has_keda),
        "Kueue": _yes(found.has_kueue),
        "metrics of pods": _yes(found.has_metrics),
        "dynamic resource allocation": _yes(found.has_dra),
        "image volumes": _yes(found.mounts_images),
        "HPA to zero": _yes(found.scales_to_zero),
        "GPU resources": ", ".join(ways) or "none",
        "GPU cards": ", ".join(sorted(gpus.products)) or "none",
    }
    return said | {f"unknown: {what}": why for what, why in found.unknown}


def _yes(known: bool | None) -> str:
    return "unknown" if known is None else "yes" if known else "no"
