"""How much a project may have in all, how it is divided among its services, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import quantity, wire
from modelyard.domain.allotment import Demand
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.placement import Request

PATH = "spec.quota"
NONE = -1
"""Of GPUs and replicas: not limited."""
_FIELDS = {
    "cpu": "spec.resources.cpu",
    "memory": "spec.resources.memory",
    "gpus": "spec.resources.gpu",
    "replicas": "spec.replicas",
}
"""Where a deployment says how much it wants of each."""
_TASKS = "tasks"
"""Limits nothing: it is what of the places for tasks is a project's own."""
_SAID = {"cpu": "--cpu", "memory": "--memory"}
"""What a replica must ask for where it is limited, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What all replicas of a project may ask for together; what is not said is not limited."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    cpu: str = ""
    """Cores, such as `8` or `500m`; empty means no limit."""
    memory: str = ""
    """Such as `32Gi`; empty means no limit."""
    gpus: int = NONE
    """Cards; a part of one counts as a whole one. -1 means no limit."""
    replicas: int = NONE
    """Replicas of all services; -1 means no limit."""
    tasks: int = NONE
    """Places for validation and tests that are its own; it borrows what others leave. -1 means none."""

    def __post_init__(self) -> None:
        for name, value in (("gpus", self.gpus), ("replicas", self.replicas), ("tasks", self.tasks)):
            if not NONE <= value <= 100_000:
                path, message = f"{PATH}.{name}", f"must be between 0 and 100000, or -1, got {value}"
                raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
        self.bounds()

    def bounds(self) -> dict[str, int]:
        """What is limited, by name, in thousandths of cores, bytes, cards and replicas; tasks are not."""
        found: dict[str, int] = {}
        if self.cpu:
            found["cpu"] = quantity.parse_cpu(self.cpu, f"{PATH}.cpu")
        if self.memory:
            found["memory"] = quantity.parse_memory(self.memory, f"{PATH}.memory")
        counted = (("gpus", self.gpus), ("replicas", self.replicas))
        return found | {name: value for name, value in counted if value != NONE}


@dataclass(frozen=True, slots=True)
class Share:
    """What one deployment may have of its project's quota."""

    replicas: int
    why: str = ""
    """Why it is not more; empty when it has what it wants."""
    lacking: str = ""
    """What there is too little of: `cpu`, `memory`, `gpus` or `replicas`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How much of one thing is limited, and how much of it the replicas have that there are to be."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    """`cpu`, `memory`, `gpus` or `replicas`."""
    limit: str
    """Empty means no limit."""
    used: str


def parse(text: str) -> Quota:
    """Read `cpu=8,memory=32Gi,gpus=2,replicas=20`, or `none`; raises Invalid with the remedy."""
    found: dict[str, str] = {}
    for word in text.split(",") if text.strip() not in ("", "none") else ():
        name, _, value = (each.strip() for each in word.partition("="))
        counted = name in ("gpus", "replicas", _TASKS)
        known = name in (*_FIELDS, _TASKS) and name not in found
        if not known or not value or (counted and not value.isdecimal()):
            example = "cpu=8,memory=32Gi,gpus=2,replicas=20,tasks=2"
            message = f"{word!r} is not part of a quota; write such as `{example}`"
            raise Invalid(f"{PATH}: {message}", errors=(FieldError(PATH, message),))
        found[name] = value
    return Quota(
        cpu=found.get("cpu", ""),
        memory=found.get("memory", ""),
        gpus=int(found.get("gpus", NONE)),
        replicas=int(found.get("replicas", NONE)),
        tasks=int(found.get(_TASKS, NONE)),
    )


def write(quota: Quota) -> str:
    """The quota as it is written; `parse` reads it back. Empty where nothing is limited."""
    said = {"cpu": quota.cpu, "memory": quota.memory, "gpus": quota.gpus, "replicas": quota.replicas}
    own = [f"{_TASKS}={quota.tasks}"] if quota.tasks != NONE else []
    return ",".join([*(f"{name}={said[name]}" for name in quota.bounds()), *own])


def shares(quota: Quota, demands: Sequence[Demand], *, project: str) -> dict[str, Share]:
    """What each deployment of the project may have, by key.

    What runs is never taken away, also when the quota became smaller. What is left goes to guaranteed
    replicas first, then by priority; of several that are alike, the older deployment goes first.
    """
    bounds = quota.bounds()
    left = dict(bounds)
    granted = dict.fromkeys((demand.key for demand in demands), 0)
    refused: dict[str, Share] = {}
    for index, runs in _order(demands):
        demand = demands[index]
        needed = amounts(demand.request)
        if demand.key in refused:
            continue
        if not runs and (lack := _lacking(needed, left)):
            why = _words(lack, needed, bounds, left, project)
            refused[demand.key] = Share(granted[demand.key], why, lack)
            continue
        left = {name: amount - needed[name] for name, amount in left.items()}
        granted[demand.key] += 1
    return {key: refused.get(key, Share(count)) for key, count in granted.items()}


def refusal(quota: Quota, wish: Demand, others: Sequence[Demand], *, project: str) -> Share | None:
    """Why there is no room for all replicas of one beside all that others want; None when there is."""
    bounds = quota.bounds()
    taken = {name: sum(each.wanted * amounts(each.request)[name] for each in others) for name in bounds}
    left = {name: amount - taken[name] for name, amount in bounds.items()}
    needed = {name: amount * wish.wanted for name, amount in amounts(wish.request).items()}
    lack = _lacking(needed, left) if wish.wanted else ""
    if not lack:
        return None
    return Share(0, _words(lack, needed, bounds, left, project), lack)


def is_within(wish: Demand, before: Demand) -> bool:
    """Whether a deployment asks for no more of anything than it did before."""
    old, new = amounts(before.request), amounts(wish.request)
    return all(wish.wanted * new[name] <= before.wanted * old[name] for name in old)


def amounts(request: Request) -> dict[str, int]:
    """What one replica counts for."""
    return {
        "cpu": request.cpu_millis,
        "memory": request.memory_bytes,
        "gpus": request.gpus or int(bool(request.part)),
        "replicas": 1,
    }


def used(quota: Quota, demands: Sequence[Demand]) -> tuple[Use, ...]:
    """What the replicas that these deployments are to have count for, beside what is the most."""
    bounds = quota.bounds()
    totals = {
        name: sum(demand.wanted * amounts(demand.request)[name] for demand in demands) for name in _FIELDS
    }
    return tuple(
        Use(name=name, limit=_shown(name, bounds[name]) if name in bounds else "", used=_shown(name, total))
        for name, total in totals.items()
    )


def field_of(lacking: str) -> str:
    """The field of a deployment that asks for what there is too little of."""
    return _FIELDS[lacking]


def _order(demands: Sequence[Demand]) -> Iterator[tuple[int, bool]]:
    """Every replica that is wanted, by the index of its demand, and whether it runs; in order of giving."""
    slots = [
        (ordinal >= demand.running, ordinal >= demand.guaranteed, demand.rank, ordinal, demand.id, index)
        for index, demand in enumerate(demands)
        for ordinal in range(demand.wanted)
    ]
    for new, *_, index in sorted(slots):
        yield index, not new


def _lacking(needed: Mapping[str, int], left: Mapping[str, int]) -> str:
    """What one more replica finds too little of, or does not say; empty when there is room for it."""
    for name, amount in left.items():
        if needed[name] > max(amount, 0) or (name in _SAID and not needed[name]):
            return name
    return ""


def _words(
    lacking: str, needed: Mapping[str, int], bounds: Mapping[str, int], left: Mapping[str, int], project: str
) -> str:
    most, need = bounds[lacking], needed[lacking]
    if not need:
        return (
            f"project {project} has a quota of {lacking}, so that each of its services says what a replica "
            f"needs: {_SAID[lacking]}"
        )
    return (
        f"the quota of project {project} is {_shown(lacking, most)} {lacking}: "
        f"{_shown(lacking, most - left[lacking])} in use, {_shown(lacking, need)} more needed"
    )


def _shown(name: str, amount: int) -> str:
    match name:
        case "cpu":
            return quantity.format_cpu(amount)
        case "memory":
            return quantity.format_memory(amount)
    return str(amount)
