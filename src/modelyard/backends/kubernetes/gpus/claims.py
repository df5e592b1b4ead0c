"""GPUs that are claimed by what they are (dynamic resource allocation); pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelyard.backends.kubernetes.capabilities import Capabilities, Device
from modelyard.backends.kubernetes.gpus.fragment import Fragment
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain import gpu, quantity
from modelyard.domain.errors import Invalid
from modelyard.domain.gpu import GpuRequest, Mode

DRIVER = "gpu.nvidia.com"
"""NVIDIA's driver for whole cards; its DeviceClass is called the same."""
REQUEST = "gpu"
"""What the claim of a pod, and the request in it, are called."""
_EXTENDED = (1, 37)
"""Since this version the scheduler makes a claim of `nvidia.com/gpu` by itself, where the class says so."""
_MIB = 1024**2


def with_devices(known: Capabilities, slices: Iterable[Manifest]) -> Capabilities:
    """What is known of the cluster, with the cards that drivers offer to claims now."""
    return replace(known, gpus=replace(known.gpus, devices=tuple(sorted(_devices(slices), key=_order))))


def whole(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Whole cards of a type, where no device plugin gives them out; empty when they are not to be claimed."""
    facts = capabilities.gpus
    if request.divided or "nvidia.com/gpu" in facts.resources or not facts.devices or not facts.claims:
        return ""
    if not request.models and facts.extended and capabilities.version >= _EXTENDED:
        return ""
    matching = _matching(facts.devices, request)
    shared = [each.memory_mib for each in matching if each.divisible]
    # Of a card that may be divided all of its memory is the whole card.
    memory = max(each.memory_mib for each in matching) if shared else 0
    return Fragment(strategy="DRA", claim=_claim(request, _type(request.models), memory))


def part(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """A part of a card's memory, of a driver that lets several claims have one card."""
    if request.mig or not request.divided or request.mode is Mode.VGPU:
        return ""
    facts = capabilities.gpus
    divisible = [each for each in facts.devices if each.divisible]
    if not facts.claims or not divisible:
        return "a driver whose devices may be shared (`allowMultipleAllocations`)"
    if request.cores_percent or not (request.percent or request.mem_mib):
        return "a fraction or `mem`, without `cores`"
    matching = _matching(divisible, request)
    if not matching:
        known = ", ".join(sorted({each.product for each in divisible}))
        return f"a card of type {' or '.join(request.models)}; there are: {known}"
    sizes = {each.memory_mib for each in matching}
    if request.percent and len(sizes) > 1:
        return "`mem` or one type, since cards have different sizes"
    memory = request.mem_mib or math.ceil(max(sizes) * request.percent / 100)
    if memory > max(sizes):
        return f"a card with {memory} MiB; the largest has {max(sizes)}"
    products = " or ".join(sorted({each.product for each in matching}))
    expressions = ["device.allowMultipleAllocations == true", *_type(request.models)]
    return Fragment(
        strategy="DRA",
        claim=_claim(request, expressions, memory),
        size=f"{memory} MiB of {products}",
        memory="not enforced",
        compute="not enforced",
    )


def any_card() -> dict[str, Any]:
    """`spec` of a claim for one card, of whatever type."""
    return _claim(GpuRequest(count=1), (), 0)


def _claim(request: GpuRequest, expressions: Sequence[str], memory_mib: int) -> dict[str, Any]:
    exactly: dict[str, Any] = {
        "deviceClassName": DRIVER,
        "allocationMode": "ExactCount",
        "count": request.count,
    }
    if expressions:
        exactly["selectors"] = [{"cel": {"expression": " && ".join(expressions)}}]
    if memory_mib:
        exactly["capacity"] = {"requests": {"memory": f"{memory_mib}Mi"}}
    return {"devices": {"requests": [{"name": REQUEST, "exactly": exactly}]}}


def _type(models: Sequence[str]) -> list[str]:
    """That a card is of one of the types, by the rule of `gpu.is_model`; in CEL."""
    if not models:
        return []
    words = "|".join(_pattern(each.lower()) for each in models)
    name = f"device.attributes['{DRIVER}'].productName.lowerAscii()"
    return [f"{name}.matches('(^|[-_ ])({words})($|[-_ ])')"]


def _pattern(model: str) -> str:
    """A type as a regular expression that needs no backslash in a CEL string."""
    return re.sub(r"[-_ ]", "[-_ ]", model).replace(".", "[.]")


def _matching(devices: Iterable[Device], request: GpuRequest) -> list[Device]:
    return [each for each in devices if gpu.is_model(each.product, request.models)]


def _devices(slices: Iterable[Manifest]) -> Iterator[Device]:
    """The cards of NVIDIA's driver; of a pool that is written anew only the newest generation counts."""
    specs = [each["spec"] for each in slices if (each.get("spec") or {}).get("driver") == DRIVER]
    newest: dict[str, int] = {}
    for spec in specs:
        newest[_pool(spec)] = max(newest.get(_pool(spec), 0), _generation(spec))
    for spec in specs:
        if _generation(spec) == newest[_pool(spec)]:
            found = (_device(spec, device) for device in spec.get("devices") or ())
            yield from (each for each in found if each is not None)


def _pool(spec: Mapping[str, Any]) -> str:
    return str((spec.get("pool") or {}).get("name") or "")


def _device(spec: Mapping[str, Any], device: Mapping[str, Any]) -> Device | None:
    attributes = {name.rpartition("/")[2]: value for name, value in (device.get("attributes") or {}).items()}
    capacity = {name.rpartition("/")[2]: value for name, value in (device.get("capacity") or {}).items()}
    if (attributes.get("type") or {}).get("string", "gpu") != "gpu":
        return None
    try:
        size = quantity.parse_memory(str((capacity.get("memory") or {}).get("value") or "0"), "memory")
    except Invalid:
        size = 0
    return Device(
        node=str(spec.get("nodeName") or ""),
        name=str(device.get("name") or ""),
        product=str((attributes.get("productName") or {}).get("string") or "GPU"),
        memory_mib=size // _MIB,
        divisible=bool(device.get("allowMultipleAllocations")),
    )


def _generation(spec: Mapping[str, Any]) -> int:
    return int((spec.get("pool") or {}).get("generation") or 0)


def _order(device: Device) -> tuple[str, str]:
    return device.node, device.name
