"""What a request for GPUs adds to a pod, or why this cluster cannot serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.domain import gpu
from modelyard.domain.gpu import GpuRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """What is merged into a pod template and its server's container."""

    strategy: str = "none"
    """Such as `device plugin`, `HAMi` or `MIG`."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Of the container that answers."""
    claim: Mapping[str, Any] = field(default_factory=dict)
    """`spec` of the claim that the pod gets a copy of for itself, where cards are claimed."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of every container: what hides GPUs where none was asked for."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Of every container but the one that answers: they have none of its GPUs, and see none."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    scheduler: str = ""
    """Name of the scheduler; empty for the cluster's own."""
    runtime_class: str = ""
    node_terms: tuple[Mapping[str, Any], ...] = ()
    """`matchExpressions` that every term of the node affinity gets."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    prefers: tuple[Mapping[str, Any], ...] = ()
    """Preferred pod affinity: whole cards stay free where others are in use already."""
    size: str = ""
    """What is given where that is not exactly what was asked for: `2g.10gb, 25 % of the memory …`."""
    memory: str = "whole card"
    """How the memory of the card is kept apart."""
    compute: str = "whole card"
    """How its computing time is."""


def told(wanted: GpuRequest, found: Fragment) -> str:
    """How a part of a card is given out, in words for its user."""
    size = f" as {found.size}" if found.size else ""
    apart = f"memory is kept apart {found.memory}, computing time {found.compute}"
    if found.memory == "not enforced":
        apart = f"nothing keeps its memory apart; computing time: {found.compute}"
    return f"`{gpu.write(wanted)}` is given out by {found.strategy}{size}; {apart}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no way of this cluster serves a request."""

    message: str
    """Names the field, and what each way would need."""
