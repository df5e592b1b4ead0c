"""What a deploy would do, said before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import quantity, wire
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Stage
from modelyard.domain.differences import Change, differences
from modelyard.domain.placement import Request
from modelyard.domain.strategy import Kind


class Act(StrEnum):
    """What would become of the deployment."""

    CREATE = "create"
    REPLACE = "replace"
    """What runs changes: every replica is replaced."""
    CHANGE = "change"
    """No replica is replaced."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One resource of all replicas together."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    resource: str
    """`cpu`, `memory` or `gpu`."""
    before: str
    after: str
    at_most: str
    """While old and new replicas run side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deploy would do; nothing was done."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    service: str
    act: Act
    revision: int
    """Which would be the newest."""
    model: str
    runtime: str
    changes: tuple[Change, ...] = ()
    breaking: tuple[str, ...] = ()
    """What requests of today would break on; such a deploy is refused unless it is allowed."""
    totals: tuple[Total, ...] = ()
    fits: str = ""
    """Why the new replicas would have to wait for room; empty when there is room now."""
    traffic: str = ""
    builds: str = ""
    """The runtime that has to be built first."""
    warnings: tuple[str, ...] = ()


def act(before: Deployment | None, *, reruns: bool, changes: bool) -> Act:
    """What a spec means for the deployment that there is."""
    if before is None:
        return Act.CREATE
    if not changes:
        return Act.NOTHING
    return Act.REPLACE if reruns else Act.CHANGE


def added_replicas(before: DeploymentSpec | None, after: DeploymentSpec, kind: Act) -> int:
    """How many replicas must find room beside those that run."""
    had = before.replicas if before else 0
    if kind is Act.REPLACE and after.strategy.kind is Kind.ROLLING:
        # What lacks today is started at once, and the surge beside it.
        return min(max(after.replicas - had, 0) + after.max_surge, after.replicas)
    return after.replicas if kind is Act.REPLACE else max(after.replicas - had, 0)


def changes(before: DeploymentSpec | None, after: DeploymentSpec) -> tuple[Change, ...]:
    """The fields that would change; none of a new deployment."""
    return tuple(differences(before, after)) if before else ()


def totals(before: DeploymentSpec | None, after: DeploymentSpec, kind: Act) -> tuple[Total, ...]:
    """CPU, memory and GPUs of all replicas, as far as anything is reserved."""
    return tuple(_totals(before, after, added_replicas(before, after, kind)))


def traffic(before: DeploymentSpec | None, after: DeploymentSpec, kind: Act, stage: Stage) -> str:
    """Who answers while it happens and afterwards."""
    where = "" if stage is Stage.PRODUCTION else f"; only callers of the {stage} address meet it"
    if after.replicas == 0:
        return "nobody answers: it is offline"
    match kind:
        case Act.CREATE:
            return f"answers once the first replica is ready{where}"
        case Act.REPLACE if before and before.replicas and after.strategy.kind is not Kind.ROLLING:
            parts = ", ".join(f"{percent} %" for percent in after.strategy.stages)
            judges = ", ".join(after.strategy.judges) or "nothing"
            return f"the new revision gets {parts} of the requests, judged by {judges}; none is lost{where}"
        case Act.REPLACE if before and before.replicas:
            surge = min(after.max_surge, after.replicas)
            return (
                f"old replicas answer until new ones are ready, {surge} at a time; no request is lost{where}"
            )
        case Act.REPLACE | Act.CHANGE if before and not before.replicas:
            return f"it was offline, and answers once the first replica is ready{where}"
        case Act.REPLACE | Act.CHANGE | Act.NOTHING:
            return f"as before{where}"


def takeover(after: DeploymentSpec, losers: Sequence[Key]) -> str:
    """Who loses the host to it, to be put behind who answers; empty when nobody does."""
    if not losers:
        return ""
    others = " and ".join(map(str, losers))
    return f"; once it is wholly ready it takes {after.address.wish.domain} from {others}, and no sooner"


def _totals(before: DeploymentSpec | None, after: DeploymentSpec, added: int) -> Iterator[Total]:
    old = Request.of(before.resources) if before else Request()
    new, had = Request.of(after.resources), before.replicas if before else 0
    for resource, was, would, shown in (
        ("cpu", old.cpu_millis, new.cpu_millis, quantity.format_cpu),
        ("memory", old.memory_bytes, new.memory_bytes, quantity.format_memory),
        ("gpu", old.gpus, new.gpus, str),
    ):
        if was * had or would * after.replicas:
            most = max(was * had + would * added, would * after.replicas)
            yield Total(
                resource=resource,
                before=shown(was * had),
                after=shown(would * after.replicas),
                at_most=shown(most),
            )
