"""From one stage to the next: what a promotion carries over, and which stages a name has."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain import scaling
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Stage
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.domain.revisions import STEADY

NEXT = {Stage.DEBUG: Stage.TEST, Stage.TEST: Stage.PRODUCTION}
"""The only ways of a promotion; nothing leaves the debug stage for production untested."""


def promoted_to(source: Key) -> Key:
    """Where a promotion of this deployment leads; Invalid for a production one."""
    stage = NEXT.get(source.stage)
    if stage is None:
        message = (
            f"{source.service} is in production; promote {source.name}@test, "
            f"after `modelyard deploy … --name {source.name}@test`"
        )
        raise Invalid(f"deployment: {message}", errors=(FieldError("deployment", message),))
    return Key(source.project, source.name, stage)


def require_proven(source: Deployment) -> None:
    """Nothing when what would be promoted runs: its newest revision is ready as often as wanted.

    Raises Conflict otherwise. A deployment in the debug stage runs nothing and need not be ready.
    """
    if source.deleting:
        raise Conflict(f"{source.key.service} is being removed; deploy it anew to promote it")
    if source.key.stage is Stage.DEBUG:
        return
    status, service = source.status, source.key.service
    if source.spec.replicas == 0:
        raise Conflict(f"{service} is offline; scale it to 1 or more, and promote it once it is ready")
    ready = status.good_revision == source.revision and 0 < scaling.wanted(source) <= status.ready_replicas
    if not ready or status.observed_generation != source.generation:
        raise Conflict(
            f"{service} is not ready at revision {source.revision}; "
            f"`modelyard explain {service}` says why, and it can be promoted once it is"
        )


def promoted(source: Deployment, target: Deployment | None) -> DeploymentSpec:
    """The spec of the next stage: what the source runs, at the size and exposure that the target has.

    A stage that is new, or offline, takes the source's own size.
    """
    if target is None:
        return replace(source.spec, replicas=max(source.spec.replicas, 1))
    kept = {name: getattr(target.spec, name) for name in STEADY}
    if target.spec.replicas == 0:
        kept["replicas"] = max(source.spec.replicas, 1)
    return replace(source.spec, **kept)


def copied(source: DeploymentSpec) -> DeploymentSpec:
    """The spec of an offline copy: it answers where it does by itself, as it must never take a host over."""
    return replace(source, replicas=0, address=replace(source.address, host=""))


def all_stages(key: Key) -> tuple[Key, ...]:
    """The deployments that share this one's name, production first."""
    return tuple(Key(key.project, key.name, stage) for stage in Stage)
