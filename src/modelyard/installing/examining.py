"""What `doctor` asks of a cluster: what it can do, and whether its GPUs can be used; without a platform."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import DAEMON_SET, NODE, Kind, Manifest
from modelyard.backends.kubernetes.probe import described, probe
from modelyard.domain.errors import ModelyardError
from modelyard.installing.running import Target

_GPU = "nvidia.com/gpu"
_PLUGINS = ("device-plugin", "hami", "volcano-device")
_OPERATOR = (
    "install NVIDIA's GPU Operator: `helm install gpu-operator nvidia/gpu-operator -n gpu-operator "
    "--create-namespace`, on MicroK8s `microk8s enable nvidia`"
)
_OLDEST = (1, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found; where it is wrong, the remedy too."""


def cluster(target: Target) -> tuple[Check, ...]:
    """What the cluster can do; a missing extra is told, and only what Modelyard cannot do without fails."""
    return asyncio.run(asked(target, gpus=False))


def gpus(target: Target) -> tuple[Check, ...]:
    """Whether the cluster's GPUs can be used, from the driver to what pods may ask for."""
    return asyncio.run(asked(target, gpus=True))


async def asked(target: Target, *, gpus: bool) -> tuple[Check, ...]:
    """The checks of a cluster or of its GPUs; one that does not answer is a failed check."""
    access = config.load(target.environ, kubeconfig=target.kubeconfig, context=target.context)
    client = Cluster(access, clock=time.monotonic)
    try:
        async with asyncio.timeout(target.timeout_seconds):
            version = await client.version()
            found = await probe(client, known=Capabilities(version=version))
            if not gpus:
                return cluster_checks(found, where=access.server)
            return gpu_checks(found, await _items(client, NODE), await _items(client, DAEMON_SET))
    except (ModelyardError, TimeoutError) as error:
        remedy = "see `kubectl cluster-info`; choose another with --kubeconfig and --context"
        return (
            Check(name="cluster", ok=False, message=f"{access.server}: {error or 'no answer'}; {remedy}"),
        )
    finally:
        await client.close()


async def _items(client: Cluster, kind: Kind) -> tuple[Manifest, ...]:
    """All of a kind; none where they may not be seen, which the probe has told already."""
    try:
        return (await client.list(kind)).items
    except ModelyardError:
        return ()


def cluster_checks(found: Capabilities, *, where: str) -> tuple[Check, ...]:
    """What the cluster can do; pure."""
    version = ".".join(map(str, found.version))
    new = found.version >= _OLDEST
    first = f"{where}, Kubernetes {version}" + ("" if new else "; Modelyard needs 1.31 or newer: upgrade it")
    more = (Check(name=name, ok=True, message=text) for name, text in described(found).items())
    return (Check(name="cluster", ok=new, message=first), *more)


def gpu_checks(
    found: Capabilities, nodes: Sequence[Manifest], daemons: Iterable[Manifest]
) -> tuple[Check, ...]:
    """The stack below a GPU, from the card to what pods may ask for; pure."""
    labelled = [node for node in nodes if _labels(node).get("nvidia.com/gpu.product")]
    cards = [
        node for node in nodes if _labels(node).get("feature.node.kubernetes.io/pci-10de.present") == "true"
    ]
    plugins = [each for each in daemons if any(word in each["metadata"]["name"] for word in _PLUGINS)]
    checks = [
        Check(
            name="cards",
            ok=bool(labelled or cards),
            message=_named(labelled or cards) or f"no node says that it has an NVIDIA card; {_OPERATOR}",
        ),
        _drivers(labelled),
        _plugin(plugins),
        Check(
            name="labels",
            ok=bool(labelled),
            message=", ".join(sorted(found.gpus.products))
            or f"no node has the label nvidia.com/gpu.product, by which types are chosen; {_OPERATOR}",
        ),
        Check(
            name="allocatable",
            ok=bool(found.gpus.resources),
            message="; ".join(_given(nodes))
            or f"no node gives out GPUs: the device plugin has not registered with the kubelet; {_OPERATOR}",
        ),
        Check(
            name="runtime class",
            ok=True,
            message=found.gpus.runtime_class or "none: the nodes' default runtime must be NVIDIA's",
        ),
    ]
    return tuple(checks)


def _drivers(labelled: Sequence[Manifest]) -> Check:
    versions = {
        f"{node['metadata']['name']}: driver {_labels(node)['nvidia.com/cuda.driver-version.full']}"
        f", CUDA {_labels(node).get('nvidia.com/cuda.runtime-version.full', '?')}"
        for node in labelled
        if "nvidia.com/cuda.driver-version.full" in _labels(node)
    }
    remedy = f"no node tells its driver's version; see `nvidia-smi` there, or {_OPERATOR}"
    return Check(name="driver", ok=bool(versions), message="; ".join(sorted(versions)) or remedy)


def _plugin(plugins: Sequence[Manifest]) -> Check:
    if not plugins:
        return Check(name="device plugin", ok=False, message=f"there is none; {_OPERATOR}")
    told, ok = [], True
    for each in plugins:
        status: Mapping[str, Any] = each.get("status") or {}
        ready, wanted = int(status.get("numberReady", 0)), int(status.get("desiredNumberScheduled", 0))
        place = f"{each['metadata'].get('namespace', 'default')}/{each['metadata']['name']}"
        told.append(f"{place}: {ready} of {wanted} ready")
        ok = ok and ready >= wanted
    last = plugins[-1]["metadata"]
    remedy = f"; see `kubectl logs -n {last.get('namespace', 'default')} daemonset/{last['name']}`"
    return Check(name="device plugin", ok=ok, message=", ".join(told) + ("" if ok else remedy))


def _given(nodes: Sequence[Manifest]) -> list[str]:
    found = []
    for node in nodes:
        free = (node.get("status") or {}).get("allocatable") or {}
        amounts = [
            f"{free[name]} {name}"
            for name in sorted(free)
            if name.startswith((_GPU, "nvidia.com/mig-", "volcano.sh/vgpu"))
        ]
        if amounts:
            found.append(f"{node['metadata']['name']}: {', '.join(amounts)}")
    return found


def _named(nodes: Sequence[Manifest]) -> str:
    return ", ".join(sorted(str(node["metadata"]["name"]) for node in nodes))


def _labels(node: Manifest) -> Mapping[str, str]:
    return (node.get("metadata") or {}).get("labels") or {}
