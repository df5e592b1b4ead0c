"""What the cluster's nodes have, as the platform counts it; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modelyard.backends.kubernetes.capabilities import MIG, SHARED, Device
from modelyard.backends.kubernetes.gpus.facts import named_by_hand
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.node import Gpu, Node, NodeClass

GPU = "nvidia.com/gpu"
_PRODUCT = "nvidia.com/gpu.product"
_ROLE = "modelyard.dev/role-"
_CLASSIFIED = "modelyard.dev/classes"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


def node_of(manifest: Manifest, devices: Iterable[Device] = ()) -> Node:
    """A node with what pods may have of it, and whether it takes any at the moment.

    `devices` are the cards of all nodes that are claimed; a device plugin's cards count where there are both.
    """
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    metadata, free = manifest["metadata"], status.get("allocatable") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    return Node(
        name=str(metadata["name"]),
        classes=_classes(labels),
        cpu_millis=_millis(free.get("cpu")),
        memory_bytes=_bytes(free.get("memory")),
        gpus=_gpus(labels, free) or _claimed(str(metadata["name"]), devices),
        enforcement="cgroup",
        ready=_is_ready(status) and not spec.get("unschedulable"),
        reason=_reason(spec, status),
        labels=dict(sorted(labels.items())),
        parts={name: str(free[name]) for name in sorted(free) if _is_part(name, labels)},
    )


def class_labels(classes: Collection[NodeClass]) -> dict[str, str | None]:
    """What labels make a node one of these classes and of no others; None takes a label away."""
    roles = {f"{_ROLE}{each.value}": "true" if each in classes else None for each in NodeClass}
    return {_CLASSIFIED: "set", **roles}


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def _reason(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Why it takes no pods, or what it runs short of."""
    found = ["cordoned"] if spec.get("unschedulable") else []
    for each in status.get("conditions") or ():
        if each["type"] == "Ready" and each["status"] != "True":
            found.append(f"not ready: {each.get('message') or each.get('reason') or 'no word from it'}")
        if each["type"].endswith("Pressure") and each["status"] == "True":
            found.append(f"{each['type']}: {each.get('message') or each.get('reason') or ''}".rstrip(": "))
    return "; ".join(found)


def _is_divided(labels: Mapping[str, str]) -> bool:
    """Whether what is called `nvidia.com/gpu` are parts of cards."""
    return labels.get("nvidia.com/gpu.sharing-strategy", "none") != "none" or "-MIG-" in labels.get(
        _PRODUCT, ""
    )


def _is_part(name: str, labels: Mapping[str, str]) -> bool:
    parts = name.startswith((MIG, "volcano.sh/vgpu-")) or name == SHARED
    return parts or (name == GPU and _is_divided(labels))


def _classes(labels: Mapping[str, str]) -> tuple[NodeClass, ...]:
    """By its labels; a node that nobody classified is everything."""
    said = tuple(each for each in NodeClass if labels.get(f"{_ROLE}{each.value}") == "true")
    return said if said or _CLASSIFIED in labels else tuple(NodeClass)


def _gpus(labels: Mapping[str, str], free: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Whole GPUs, called as the node's labels call them."""
    if _is_divided(labels):
        return ()
    count = _millis(free.get(GPU)) // 1000
    megabytes = labels.get("nvidia.com/gpu.memory", "0")
    size = int(megabytes) << 20 if megabytes.isdecimal() else 0
    by_hand = named_by_hand(labels)
    name = labels.get(_PRODUCT) or (by_hand[1] if by_hand else "GPU")
    return tuple(Gpu(index=index, name=name, memory_bytes=size) for index in range(count))


def _claimed(node: str, devices: Iterable[Device]) -> tuple[Gpu, ...]:
    here = [each for each in devices if each.node == node]
    return tuple(
        Gpu(index=index, name=each.product, memory_bytes=each.memory_mib << 20)
        for index, each in enumerate(here)
    )


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
