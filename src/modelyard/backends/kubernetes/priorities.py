"""The ladder of PriorityClasses: what of the platform gives way to what, and to the rest of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import PRIORITY_CLASS, Manifest
from modelyard.domain.deployment import Stage
from modelyard.domain.priority import Level

SYSTEM = "modelyard-system"
BATCH = "modelyard-batch"
BEST_EFFORT = "modelyard-best-effort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One PriorityClass."""

    name: str
    value: int
    meaning: str
    preempts: bool = True
    """Whether its pods have others evicted that are less important."""


LADDER = (
    Rung(name=SYSTEM, value=1_000_000, meaning="The platform itself and its routers"),
    Rung(
        name="modelyard-serving-critical",
        value=500_000,
        meaning="Replicas of services of the level critical",
    ),
    Rung(name="modelyard-serving-high", value=100_000, meaning="Replicas of services of the level high"),
    Rung(name="modelyard-serving-normal", value=10_000, meaning="Replicas of services of the level normal"),
    Rung(name="modelyard-serving-low", value=1_000, meaning="Replicas of services of the level low"),
    Rung(
        name=BATCH,
        value=0,
        meaning="Pods that validate and test models: they wait for room, and nobody is evicted for them",
        preempts=False,
    ),
    Rung(
        name=BEST_EFFORT,
        value=-1_000,
        meaning="The stage debug, which answers nobody: the first to give way",
        preempts=False,
    ),
)


def of_service(level: Level, stage: Stage) -> str:
    """The class of a deployment's pods."""
    return BEST_EFFORT if stage is Stage.DEBUG else f"modelyard-serving-{level.value}"


def manifest(rung: Rung) -> Manifest:
    """The object of one rung, for a cluster that the platform was not installed into."""
    return {
        "apiVersion": PRIORITY_CLASS.api_version,
        "kind": PRIORITY_CLASS.name,
        "metadata": {"name": rung.name, "labels": {names.MANAGED_BY: names.MANAGER}},
        **said(rung),
    }


def said(rung: Rung) -> Manifest:
    """What the object says beside its name."""
    never = {} if rung.preempts else {"preemptionPolicy": "Never"}
    return {"value": rung.value, "globalDefault": False, **never, "description": rung.meaning}
