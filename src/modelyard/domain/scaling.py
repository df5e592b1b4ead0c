"""How many replicas a deployment wants now: what its user says, load and clock decided, and is granted."""

from __future__ import annotations

from modelyard.domain.deployment import Condition, Deployment, DeploymentSpec, Key, Stage
from modelyard.domain.endpoint import Waking


def honoured(deployment: Deployment) -> bool:
    """Whether load or clock decide: only in production, and not for a service that was taken offline."""
    spec = deployment.spec
    if deployment.claim.yielded_to:
        return False
    return deployment.stage is Stage.PRODUCTION and spec.autoscaling.declared and spec.replicas > 0


def wanted(deployment: Deployment) -> int:
    """How many replicas there should be."""
    count = asked(deployment)
    granted = deployment.status.scaling.granted
    return count if granted < 0 else min(count, max(granted, guaranteed(deployment)))


def asked(deployment: Deployment) -> int:
    """How many there should be if there were room for all."""
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
    """Whether it has no replica only because others go before: it is neither offline nor asleep."""
    return wanted(deployment) == 0 < asked(deployment)


def condition(deployment: Deployment) -> Condition | None:
    """What is to be said about the number of replicas; None where only `replicas` decides."""
    decided, count, full = deployment.status.scaling, wanted(deployment), asked(deployment)
    if count < full:
        message = f"{count} of {full} replicas: there is no room for more, and others go before"
        return Condition(type="Scaled", ok=False, reason="CapacityShort", message=message)
    if not honoured(deployment):
        return None
    reason = decided.reason or "Replicas"
    return Condition(
        type="Scaled", ok=True, reason=reason, message=decided.message or f"{count} to begin with"
    )


def ignored(key: Key, spec: DeploymentSpec) -> str:
    """Why what is said about autoscaling does not count here; empty when it does."""
    if spec.autoscaling.declared and key.stage is not Stage.PRODUCTION:
        return f"autoscaling counts only in production; {key.service} keeps {spec.replicas} replicas"
    return ""
