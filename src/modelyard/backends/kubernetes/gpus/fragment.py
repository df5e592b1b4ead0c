"""What a request for GPUs adds to a pod, or why this cluster cannot serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """What is merged into a pod template and its server's container."""

    strategy: str = "none"
    """Such as `device plugin`, `HAMi` or `MIG`."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Of the container that answers."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of every container: what hides GPUs where none was asked for."""
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
    memory: str = "whole card"
    """How the memory of the card is kept apart."""
    compute: str = "whole card"
    """How its computing time is."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no way of this cluster serves a request."""

    message: str
    """Names the field, and what each way would need."""
