"""MIG partitions: how much of a card each is, and which is the smallest that will do; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.backends.kubernetes.capabilities import MIG, Partition
from modelyard.domain import gpu
from modelyard.domain.gpu import GpuRequest

_PROFILE = re.compile(r"(?P<slices>\d+)g\.(?P<gigabytes>\d+)gb")
_IN_NAME = re.compile(r"(\d+)GB")
_FOUR_SLICES = re.compile(r"(^|-)A30($|-)|RTX-PRO", re.IGNORECASE)
"""Cards whose cores are cut into four; all others into seven."""


def of_node(labels: Mapping[str, str], free: Mapping[str, Any]) -> tuple[Partition, ...]:
    """The partitions that a node gives out; none of a card whose size nobody says."""
    product, gigabytes = labels.get("nvidia.com/gpu.product", ""), _size(labels)
    slices = 4 if _FOUR_SLICES.search(product) else 7
    found = []
    for resource, amount in free.items():
        profile = resource.removeprefix(MIG)
        match = _PROFILE.match(profile)
        if not resource.startswith(MIG) or str(amount) == "0" or not match or not gigabytes:
            continue
        found.append(
            Partition(
                product=product,
                profile=profile,
                memory_mib=int(match["gigabytes"]) * 1024,
                memory_percent=100 * int(match["gigabytes"]) / gigabytes,
                cores_percent=100 * int(match["slices"]) / slices,
            )
        )
    return tuple(found)


def smallest(request: GpuRequest, there: Iterable[Partition]) -> tuple[Partition, ...] | str:
    """Equal partitions of the least that is at least what is asked for; what is lacking where none is.

    A fraction is of memory and of cores. They are of one profile, and of each product that has it as large.
    """
    usable = [each for each in there if gpu.is_model(each.product, request.models)]
    fitting = [each for each in usable if _is_enough(each, request)]
    if not fitting:
        kind = f" of type {' or '.join(request.models)}" if request.models else ""
        known = ", ".join(sorted({f"{each.profile} ({words(each)})" for each in usable})) or "none"
        return f"a partition{kind} of at least {_asked(request)}; there are: {known}"
    least = min(fitting, key=lambda each: (each.memory_mib, each.cores_percent, each.profile))
    return tuple(each for each in fitting if each.profile == least.profile)


def words(found: Partition) -> str:
    """How much of a card it is."""
    shares = f"{int(found.memory_percent)} % of the memory and {int(found.cores_percent)} % of the cores"
    return f"{shares} of {found.product}"


def _is_enough(found: Partition, request: GpuRequest) -> bool:
    cores = request.cores_percent or request.percent
    memory = found.memory_percent >= request.percent and found.memory_mib >= request.mem_mib
    return memory and found.cores_percent >= cores


def _asked(request: GpuRequest) -> str:
    parts = [f"{request.percent} % of a card"] if request.percent else []
    parts += [f"{request.mem_mib} MiB"] if request.mem_mib else []
    parts += [f"{request.cores_percent} % of the cores"] if request.cores_percent else []
    return " and ".join(parts)


def _size(labels: Mapping[str, str]) -> int:
    """Gigabytes of the whole card, as profiles are named after."""
    text = labels.get("nvidia.com/gpu.memory", "")
    if text.isdecimal() and int(text):
        return round(int(text) / 1024)
    named = _IN_NAME.search(labels.get("nvidia.com/gpu.product", ""))
    return int(named[1]) if named else 0
