"""What the cluster's nodes have, as the platform counts it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.node import Gpu, Node, NodeClass

GPU = "nvidia.com/gpu"
_ROLE = "modelyard.dev/role-"
_CLASSIFIED = "modelyard.dev/classes"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


def node_of(manifest: Manifest) -> Node | None:
    """A node with what pods may have of it; None for one that takes no pods at the moment."""
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    if spec.get("unschedulable") or not _is_ready(status):
        return None
    metadata, free = manifest["metadata"], status.get("allocatable") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    return Node(
        name=str(metadata["name"]),
        classes=_classes(labels),
        cpu_millis=_millis(free.get("cpu")),
        memory_bytes=_bytes(free.get("memory")),
        gpus=_gpus(labels, free),
        enforcement="cgroup",
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def _classes(labels: Mapping[str, str]) -> tuple[NodeClass, ...]:
    """By its labels; a node that nobody classified is everything."""
    said = tuple(each for each in NodeClass if labels.get(f"{_ROLE}{each.value}") == "true")
    return said if said or _CLASSIFIED in labels else tuple(NodeClass)


def _gpus(labels: Mapping[str, str], free: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Whole GPUs, called as the node's labels call them."""
    count = _millis(free.get(GPU)) // 1000
    megabytes = labels.get("nvidia.com/gpu.memory", "0")
    size = int(megabytes) << 20 if megabytes.isdecimal() else 0
    name = labels.get("nvidia.com/gpu.product", "GPU")
    return tuple(Gpu(index=index, name=name, memory_bytes=size) for index in range(count))


def _millis(text: object) -> int:
    said = str(text or "0")
    try:
        return int(said[:-1]) if said.endswith("m") else round(float(said) * 1000)
    except ValueError:
        return 0


def _bytes(text: object) -> int:
    said = str(text or "0")
    unit = next((each for each in _UNITS if said.endswith(each)), "")
    try:
        return round(float(said.removesuffix(unit)) * _UNITS.get(unit, 1))
    except ValueError:
        return 0
