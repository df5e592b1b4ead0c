"""How many replicas a deployment wants now: what its user says, load and clock decided, and is granted."""

from __future__ import annotations

from modelyard.domain.autoscaling import Scaler
from modelyard.domain.deployment import Condition, Deployment, DeploymentSpec, Key, Phase, Stage
from modelyard.domain.endpoint import Waking

UNMEASURED = "ClusterUnsure"
"""Reason of a number that stays because the cluster cannot measure what it should follow."""


def honoured(deployment: Deployment) -> bool:
    """Whether load or clock decide: only in production, and not for a service that was taken offline."""
    spec = deployment.spec
    if deployment.claim.yielded_to:
        return False
    return deployment.stage is Stage.PRODUCTION and spec.autoscaling.declared and spec.replicas > 0


def wanted(deployment: Deployment) -> int:
    """How many replicas there should be."""
    count = permitted(deployment)
    granted = deployment.status.scaling.granted
    return count if granted < 0 else min(count, max(granted, guaranteed(deployment)))


def permitted(deployment: Deployment) -> int:
    """How many there should be if there were room for all that the project's quota leaves it."""
    count, allowed = asked(deployment), deployment.status.scaling.allowed
    return count if allowed < 0 else min(count, allowed)


def asked(deployment: Deployment) -> int:
    """How many there should be if there were room for all, and no quota."""
    if deployment.deleting or deployment.claim.yielded_to:
        return 0
    spec, decided = deployment.spec, deployment.status.scaling
    if not honoured(deployment):
        return spec.replicas
    if decided.desired >= 0 and decided.reason == "Clock":
        return decided.desired
    count = decided.desired if decided.desired >= 0 else spec.replicas
    # Bounds that were edited count at once, before anything was decided anew.
    return min(max(count, spec.autoscaling.min), spec.autoscaling.max) if spec.autoscaling.by_load else count


def guaranteed(deployment: Deployment) -> int:
    """How many of them nobody may take away."""
    spec = deployment.spec
    if spec.priority.guaranteed >= 0:
        return spec.priority.guaranteed
    by_load = honoured(deployment) and spec.autoscaling.by_load
    return spec.autoscaling.min if by_load else asked(deployment)


def wakes(deployment: Deployment) -> bool:
    """Whether a request starts a replica when there is none: it may sleep, and not by the clock."""
    decided = deployment.status.scaling
    may_sleep = honoured(deployment) and deployment.spec.autoscaling.by_load
    by_clock = decided.reason == "Clock" and decided.desired == 0
    gone = deployment.deleting or bool(deployment.claim.yielded_to)
    return may_sleep and deployment.spec.autoscaling.min == 0 and not by_clock and not gone


def waking(deployment: Deployment) -> Waking | None:
    """How requests are held while it has no replica; None for one that no request wakes."""
    if not wakes(deployment):
        return None
    scaling = deployment.spec.autoscaling
    return Waking(requests=scaling.hold_requests, seconds=scaling.hold_seconds)


def sleeps(deployment: Deployment) -> bool:
    """Whether it has no replica because nobody asks it, and would wake."""
    return wakes(deployment) and asked(deployment) == 0


def starves(deployment: Deployment) -> bool:
    """Whether it has no replica only because others go before or a quota is used up: it is not offline."""
    return wanted(deployment) == 0 < asked(deployment)


def delegable(deployment: Deployment) -> bool:
    """Whether somebody else than the platform may count the replicas now.

    Only while one revision has them all: nobody else divides the load of a service among two of them.
    """
    staying = [r for r in deployment.status.replicas if r.phase not in (Phase.STOPPING, Phase.FAILED)]
    only = {r.revision for r in staying} == {deployment.wanted_revision}
    return only and deployment.spec.autoscaling.by is not Scaler.PLATFORM


def bounds(deployment: Deployment) -> tuple[int, int]:
    """The fewest and the most replicas that load may call for while it is awake, with room and quota."""
    scaling, decided = deployment.spec.autoscaling, deployment.status.scaling
    least = max(scaling.min, 1)
    most = scaling.max
    if decided.granted >= 0:
        most = min(most, max(decided.granted, guaranteed(deployment), 1))
    if decided.allowed >= 0:
        most = min(most, max(decided.allowed, 1))
    return min(least, most), most


def condition(deployment: Deployment) -> Condition | None:
    """What is to be said about the number of replicas; None where only `replicas` decides."""
    decided, count, full = deployment.status.scaling, wanted(deployment), asked(deployment)
    if permitted(deployment) < full and count == permitted(deployment):
        message = f"{count} of {full} replicas: {decided.quota}"
        return Condition(type="Scaled", ok=False, reason="QuotaExceeded", message=message)
    if count < full:
        message = f"{count} of {full} replicas: there is no room for more, and others go before"
        return Condition(type="Scaled", ok=False, reason="CapacityShort", message=message)
    if not honoured(deployment):
        return None
    reason = decided.reason or "Replicas"
    return Condition(
        type="Scaled",
        ok=reason != UNMEASURED,
        reason=reason,
        message=decided.message or f"{count} to begin with",
    )


def told(deployment: Deployment) -> bool:
    """Whether the recorded condition says what was decided last."""
    said = next(((c.ok, c.reason) for c in deployment.status.conditions if c.type == "Scaled"), None)
    now = condition(deployment)
    return said == (None if now is None else (now.ok, now.reason))


def ignored(key: Key, spec: DeploymentSpec) -> str:
    """Why what is said about autoscaling does not count here; empty when it does."""
    if spec.autoscaling.declared and key.stage is not Stage.PRODUCTION:
        return f"autoscaling counts only in production; {key.service} keeps {spec.replicas} replicas"
    return ""
