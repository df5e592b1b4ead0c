"""One decision of the rollout plan at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.deployment import (
    Crashes,
    Deployment,
    DeploymentStatus,
    Failure,
    Phase,
    Replica,
    Stage,
)
from modelyard.domain.placement import Placement
from modelyard.domain.rollout import Action, Drain, Kill, Start, Stop, look_again_seconds, plan
from tests.domain.make import NOW, PLACE, ROOM, deployment, replica

BROKEN = Failure(reason="ModelLoadFailed", message="no")
OLD, NEW = "churn-7-1-0", "churn-7-2-0"


def steps(wanted: Deployment, *observed: Replica, routed: str = "", now: float = NOW) -> tuple[Action, ...]:
    return plan(wanted, observed, routed=frozenset(routed.split()), now=now, launches=ROOM)


def test_a_new_deployment_starts_its_replicas_where_they_fit() -> None:
    places = (Placement(node="a", gpus=(1,)), Placement(node="b"))
    actions = plan(deployment(replicas=3), (), routed=frozenset(), now=NOW, launches={1: places})
    assert actions == (Start("churn-7-1-0", 1, places[0]), Start("churn-7-1-1", 1, places[1]))


def test_nothing_starts_without_room() -> None:
    assert plan(deployment(), (), routed=frozenset(), now=NOW, launches={}) == ()


def test_a_changed_model_starts_beside_the_old_one() -> None:
    assert steps(deployment(revision=2), replica(OLD), routed=OLD) == (Start(NEW, 2, PLACE),)


def test_the_old_one_stays_until_the_gateway_knows_the_new_one() -> None:
    both = (replica(OLD), replica(NEW, revision=2))
    assert steps(deployment(revision=2), *both, routed=OLD) == ()
    assert steps(deployment(revision=2), *both, routed=f"{OLD} {NEW}") == (Drain(OLD),)


def test_a_draining_replica_is_stopped_only_when_no_request_can_reach_it() -> None:
    both = (replica(OLD, phase=Phase.DRAINING), replica(NEW, revision=2))
    assert steps(deployment(revision=2), *both, routed=f"{OLD} {NEW}") == ()
    assert steps(deployment(revision=2), *both, routed=NEW) == (Stop(OLD),)


@pytest.mark.parametrize(("seconds", "actions"), [(34, ()), (36, (Kill(OLD),))])
def test_a_replica_that_does_not_exit_is_killed_after_its_drain_time(
    seconds: float, actions: tuple[Action, ...]
) -> None:
    leaving = replica(OLD, phase=Phase.STOPPING, stopping_since=NOW - seconds)
    assert steps(deployment(replicas=0, drain_seconds=30), leaving) == actions


def test_scaling_down_takes_the_least_useful_first() -> None:
    three = (replica("a"), replica("b", phase=Phase.STARTING), replica("c", phase=Phase.UNREADY))
    assert steps(deployment(replicas=1), *three, routed="a") == (Drain("c"), Stop("b"))


def test_scaling_up_leaves_what_runs_alone() -> None:
    actions = steps(deployment(replicas=2), replica(OLD), routed=OLD)
    assert actions == (Start("churn-7-1-1", 1, PLACE),)


def test_deleting_drains_everything() -> None:
    gone = replace(deployment(), deleting=True)
    assert steps(gone, replica(OLD), routed=OLD) == (Drain(OLD),)
    assert steps(gone, replica(OLD, phase=Phase.DRAINING)) == (Stop(OLD),)
    assert steps(gone) == ()


def test_a_failed_replica_is_cleared_away_and_replaced_at_once() -> None:
    failed = replica(OLD, phase=Phase.FAILED, failure=BROKEN)
    assert steps(deployment(), failed) == (Kill(OLD, BROKEN), Start("churn-7-1-1", 1, PLACE))


@pytest.mark.parametrize(
    ("count", "seconds", "starts"),
    [
        (1, 0.0, True),
        (2, 0.9, False),
        (2, 1.1, True),
        (3, 1.9, False),
        (5, 7.9, False),
        (99, 59, False),
        (99, 61, True),
    ],
)
def test_repeated_failures_are_tried_again_ever_later(count: int, seconds: float, *, starts: bool) -> None:
    crashed = Crashes(revision=1, count=count, last_at=NOW - seconds, failure=BROKEN)
    actions = steps(deployment(status=DeploymentStatus(crashes=crashed)))
    assert bool(actions) is starts


def test_a_failure_that_comes_to_light_now_delays_the_next_start() -> None:
    status = DeploymentStatus(crashes=Crashes(revision=1, count=1, last_at=NOW - 100, failure=BROKEN))
    failed = replica(OLD, phase=Phase.FAILED, failure=BROKEN)
    assert steps(deployment(status=status), failed) == (Kill(OLD, BROKEN),)


def test_a_clock_that_was_set_back_does_not_freeze_the_back_off() -> None:
    status = DeploymentStatus(crashes=Crashes(revision=1, count=9, last_at=NOW + 3600, failure=BROKEN))
    assert steps(deployment(status=status)) == (Start(OLD, 1, PLACE),)


def test_another_revisions_failures_do_not_delay_this_one() -> None:
    status = DeploymentStatus(crashes=Crashes(revision=1, count=9, last_at=NOW, failure=BROKEN))
    assert steps(deployment(revision=2, status=status)) == (Start(NEW, 2, PLACE),)


def test_a_replica_that_loads_too_long_is_killed_with_the_reason() -> None:
    slow = replica(OLD, phase=Phase.STARTING, started_at=NOW - 131)
    late = Failure(reason="LoadTimeout", message="the model did not load within 120 s")
    assert steps(deployment(start_timeout_seconds=120, max_surge=1), slow)[0] == Kill(OLD, late)
    assert steps(deployment(start_timeout_seconds=120), replace(slow, started_at=NOW - 129)) == ()


def test_a_clock_that_was_set_back_does_not_make_loading_endless() -> None:
    slow = replica(OLD, phase=Phase.STARTING, started_at=NOW + 3600, phase_since=NOW - 300)
    status = DeploymentStatus(replicas=(slow,))
    assert [type(a) for a in steps(deployment(status=status), slow)] == [Kill]


@pytest.mark.parametrize(
    ("reason", "seconds", "killed"),
    [("WorkerCrashed", 100, False), ("WorkerCrashed", 131, True), ("FrontUnresponsive", 11, True)],
)
def test_a_replica_that_stays_unready_is_replaced(reason: str, seconds: float, *, killed: bool) -> None:
    failure = Failure(reason=reason)
    stuck = replica(OLD, phase=Phase.UNREADY, failure=failure, phase_since=NOW - seconds)
    status = DeploymentStatus(replicas=(stuck,))
    assert steps(deployment(status=status), stuck) == ((Kill(OLD, failure),) if killed else ())
    assert steps(deployment(status=status), stuck, routed=OLD) == ()


def test_the_good_revision_is_restored_while_the_new_one_cannot_serve() -> None:
    crashed = Crashes(revision=2, count=9, last_at=NOW, failure=BROKEN)
    status = DeploymentStatus(good_revision=1, crashes=crashed)
    assert steps(deployment(revision=2, status=status)) == (Start(OLD, 1, PLACE),)


def test_after_a_fall_back_the_failed_revision_leaves() -> None:
    status = DeploymentStatus(good_revision=1, failed_revision=2, failed=BROKEN)
    both = (replica(OLD), replica(NEW, revision=2, phase=Phase.STARTING))
    assert steps(deployment(revision=2, status=status), *both, routed=OLD) == (Stop(NEW),)


def test_replicas_of_a_stage_carry_it_in_front_of_their_names() -> None:
    tried = replace(deployment(), stage=Stage.TEST)
    [start] = plan(tried, (), routed=frozenset(), now=NOW, launches=ROOM)
    assert isinstance(start, Start)
    assert start.replica == "test-churn-7-1-0"


def test_a_name_is_not_used_again_at_once() -> None:
    status = DeploymentStatus(replicas=(replica(OLD, phase=Phase.FAILED),))
    assert steps(deployment(status=status), routed="churn-7-1-1") == (Start("churn-7-1-2", 1, PLACE),)


def test_when_to_look_again_follows_from_the_next_deadline() -> None:
    loading = replica(OLD, phase=Phase.STARTING, started_at=NOW - 30)
    assert look_again_seconds(deployment(start_timeout_seconds=120), [loading], now=NOW) == pytest.approx(100)
    assert look_again_seconds(deployment(), [replica(OLD)], now=NOW) is None
    status = DeploymentStatus(crashes=Crashes(revision=1, count=3, last_at=NOW, failure=BROKEN))
    assert look_again_seconds(deployment(status=status), [], now=NOW) == pytest.approx(2)
    old = Crashes(revision=1, count=3, last_at=NOW - 90, failure=BROKEN)
    recovered = replica(OLD, phase_since=NOW - 4)
    seen = deployment(status=DeploymentStatus(crashes=old, replicas=(recovered,)))
    assert look_again_seconds(seen, [recovered], now=NOW) == pytest.approx(6)  # else it stays degraded
    assert look_again_seconds(seen, [recovered], now=NOW + 6) is None


def test_a_replica_that_waits_for_a_place_waits_for_good() -> None:
    none = Failure(reason="InsufficientResources", message="0/3 nodes are available: 3 Insufficient cpu")
    waits = replica(OLD, phase=Phase.STARTING, started_at=NOW - 9999, failure=none)
    assert steps(deployment(), waits) == ()


def test_a_replica_that_did_not_even_come_to_load_is_killed_for_what_kept_it() -> None:
    missing = Failure(reason="ConfigError", message='secret "keys" not found')
    stuck = replica(OLD, phase=Phase.STARTING, started_at=NOW - 131, failure=missing)
    (kill, *_) = steps(deployment(), stuck)
    assert isinstance(kill, Kill)
    assert kill.failure is not None
    assert kill.failure.reason == "ConfigError"
    assert "not found" in kill.failure.message
