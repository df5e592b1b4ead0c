"""When somebody else than the platform may count replicas, and within which bounds."""

from __future__ import annotations

import pytest

from modelyard.domain import scaling
from modelyard.domain.autoscaling import Autoscaling, Scaler, ScalingStatus
from modelyard.domain.conditions import Facts, conditions
from modelyard.domain.deployment import DeploymentStatus, Phase
from modelyard.domain.priority import Priority
from tests.domain.make import NOW, deployment, replica

RULE = Autoscaling(min=2, max=8, on="concurrency:8")


@pytest.mark.parametrize(
    ("decided", "bounds"),
    [
        (ScalingStatus(), (2, 8)),
        (ScalingStatus(granted=5), (2, 5)),
        (ScalingStatus(granted=0), (2, 2)),
        (ScalingStatus(allowed=3), (2, 3)),
        (ScalingStatus(granted=5, allowed=1), (1, 1)),
        (ScalingStatus(allowed=0), (1, 1)),
    ],
)
def test_room_and_quota_bound_it(decided: ScalingStatus, bounds: tuple[int, int]) -> None:
    assert scaling.bounds(deployment(autoscaling=RULE, status=DeploymentStatus(scaling=decided))) == bounds


def test_one_that_may_sleep_has_one_at_least_while_it_is_awake() -> None:
    assert scaling.bounds(deployment(autoscaling=Autoscaling(min=0, max=4, on="concurrency:8"))) == (1, 4)


def test_what_is_guaranteed_is_within_it() -> None:
    given = DeploymentStatus(scaling=ScalingStatus(granted=1))
    found = deployment(autoscaling=RULE, priority=Priority(guaranteed=4), status=given)
    assert scaling.bounds(found) == (2, 4)


def test_only_while_one_revision_has_all_replicas() -> None:
    def may(*replicas: object, by: Scaler = Scaler.AUTO) -> bool:
        status = DeploymentStatus(replicas=tuple(replicas))  # type: ignore[arg-type]
        rule = Autoscaling(min=1, max=4, on="concurrency:8", by=by)
        return scaling.delegable(deployment(revision=2, autoscaling=rule, status=status))

    new, old = replica("churn-7-2-0", revision=2), replica(revision=1)
    assert may(new)
    assert may(new, by=Scaler.CLUSTER)
    assert not may(new, by=Scaler.PLATFORM)
    assert not may(new, old)
    assert not may()
    leaving = replica(revision=1, phase=Phase.STOPPING)
    assert may(new, leaving)


def test_a_number_that_cannot_be_measured_is_told_once() -> None:
    unsure = ScalingStatus(desired=2, reason=scaling.UNMEASURED, message="HPA cannot decide")
    found = deployment(autoscaling=RULE, status=DeploymentStatus(scaling=unsure))
    assert not scaling.told(found)
    facts = Facts(actions=(), routed=frozenset(), runtime=None)
    said = conditions(found, facts, now=NOW)
    scaled = next(c for c in said if c.type == "Scaled")
    assert (scaled.ok, scaled.reason) == (False, scaling.UNMEASURED)
    assert scaling.told(
        deployment(autoscaling=RULE, status=DeploymentStatus(scaling=unsure, conditions=said))
    )
