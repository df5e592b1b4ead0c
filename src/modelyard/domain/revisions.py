"""What makes a new revision, how one is pinned, and which one a rollback goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from modelyard.domain import naming
from modelyard.domain.deployment import Deployment, DeploymentSpec, Revision
from modelyard.domain.differences import differences, same
from modelyard.domain.errors import Conflict, NotFound

STEADY = frozenset(
    {
        "replicas", "max_surge", "start_timeout_seconds", "drain_seconds", "public", "limits", "address",
        "autoscaling", "priority", "strategy",
    }
)  # fmt: skip
"""Fields of a spec that change nothing inside a replica, so that no replica is replaced for them."""


def needs_revision(before: DeploymentSpec, after: DeploymentSpec) -> bool:
    """Whether replicas have to be replaced to get from one pinned spec to the other."""
    return any(
        not same(getattr(before, f.name), getattr(after, f.name))
        for f in fields(DeploymentSpec)
        if f.name not in STEADY
    )


def pin(spec: DeploymentSpec, *, version: str, runtime: str) -> DeploymentSpec:
    """The spec with its model (if any) pinned to a version number and its runtime resolved to a name."""
    if not spec.model:
        return replace(spec, runtime=runtime)
    name = naming.parse_model_ref(spec.model, "spec.model").name
    return replace(spec, model=f"{name}@{version}", runtime=runtime)


def rollback_target(deployment: Deployment, revisions: Sequence[Revision], number: int | None) -> Revision:
    """The revision to run again: the given one, else the last that ran before the newest.

    Raises NotFound for a number that was never made, Conflict when there is nothing to go back to.
    """
    by_number = {revision.number: revision for revision in revisions}
    service = deployment.key.service
    if number is None:
        number = _previous(deployment, by_number)
    if number is None:
        raise Conflict(f"{service} has no earlier revision to roll back to; deploy another version instead")
    if number == deployment.revision:
        raise Conflict(f"{service} is at revision {number}; `modelyard history {service}` lists others")
    if number not in by_number:
        known = ", ".join(str(n) for n in sorted(by_number, reverse=True)[:10]) or "none"
        raise NotFound(f"{service} has no revision {number}; there are {known}")
    return by_number[number]


def rolled_back(deployment: Deployment, target: Revision) -> DeploymentSpec:
    """The spec to apply for a rollback: what ran then, at the size and exposure of today."""
    return replace(target.spec, **{name: getattr(deployment.spec, name) for name in STEADY})


def changed(before: DeploymentSpec, after: DeploymentSpec) -> str:
    """What an edit changes, for the history: `model churn@1 → churn@2, replicas 1 → 3`; empty for nothing.

    Values of variables and files are not shown, as they may be secrets.
    """
    return ", ".join(str(change) for change in differences(before, after))


def _previous(deployment: Deployment, by_number: dict[int, Revision]) -> int | None:
    """The good revision when the newest failed or is not proven, else the newest before it that was good."""
    status, newest = deployment.status, deployment.revision
    if deployment.wanted_revision != newest:
        return deployment.wanted_revision
    if status.good_revision != newest and status.good_revision in by_number:
        return status.good_revision
    rollout = status.rollout
    if rollout is not None and rollout.revision == newest and rollout.base in by_number.keys() - {newest}:
        return rollout.base
    return max((n for n in by_number if n < deployment.revision), default=None)
