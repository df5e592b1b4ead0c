"""What is recorded and said about a deployment after a reconcile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.conditions import (
    Facts,
    headline,
    is_stale,
    next_status,
    progress_deadline_seconds,
    state,
    unreachable,
)
from modelyard.domain.deployment import (
    Condition,
    Crashes,
    Deployment,
    DeploymentStatus,
    Failure,
    Phase,
    Replica,
)
from modelyard.domain.placement import Unfit
from modelyard.domain.rollout import Kill
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.domain.views import State
from tests.domain.make import NOW, deployment, replica

BUILT = RuntimeStatus(state=RuntimeState.READY)
BROKEN = Failure(reason="MissingPackage", message="no module named x")
OLD, NEW = "churn-7-1-0", "churn-7-2-0"


def after(
    before: Deployment, *observed: Replica, facts: Facts | None = None, routed: str = "", now: float = NOW
) -> Deployment:
    found = replace(facts or Facts(runtime=BUILT), routed=frozenset(routed.split()))
    return replace(before, status=next_status(before, observed, found, now=now))


def said(of: Deployment, type: str) -> Condition:
    return next(c for c in of.status.conditions if c.type == type)


def crash(name: str = NEW) -> Facts:
    return Facts(runtime=BUILT, actions=(Kill(name, BROKEN),))


def failing(times: int, *, good: int = 1) -> Deployment:
    """Revision 2 of a deployment after its replica failed so many times."""
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=good, observed_generation=2))
    for number in range(times):
        name = f"{NEW}{number}"
        failed = replica(name, revision=2, phase=Phase.FAILED)
        wanted = after(wanted, failed, replica(OLD), facts=crash(name), routed=OLD, now=NOW + number)
    return wanted


def test_a_deployment_whose_replicas_are_ready_and_routed_runs() -> None:
    fine = after(deployment(), replica(OLD), routed=OLD)
    assert [c.ok for c in fine.status.conditions] == [True] * 5
    assert [c.type for c in fine.status.conditions] == [
        "Ready",
        "Progressing",
        "Scheduled",
        "RuntimeReady",
        "Routed",
    ]
    assert state(fine) is State.RUNNING
    assert headline(fine) == ""
    assert (fine.status.good_revision, fine.status.ready_replicas) == (1, 1)


def test_it_does_not_run_before_the_gateway_has_taken_it_up() -> None:
    assert state(after(deployment(), replica(OLD))) is State.STARTING


def test_an_update_is_not_done_while_an_older_revision_gets_requests() -> None:
    both = (replica(OLD), replica(NEW, revision=2))
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=1))
    assert state(after(wanted, both[0], routed=OLD)) is State.STARTING
    assert state(after(wanted, *both, routed=f"{OLD} {NEW}")) is State.STARTING
    assert state(after(wanted, replace(both[0], phase=Phase.STOPPING), both[1], routed=NEW)) is State.RUNNING


def test_no_replicas_wanted_is_offline() -> None:
    assert state(after(deployment(replicas=0))) is State.OFFLINE
    assert state(after(replace(deployment(), deleting=True))) is State.DELETING


def test_a_deployment_nobody_has_looked_at_is_pending() -> None:
    assert state(deployment()) is State.PENDING


def test_what_does_not_fit_is_pending_with_the_reason() -> None:
    unfit = Unfit(message="insufficient memory: needs 3Gi, free 1.2Gi")
    waiting = after(deployment(), facts=Facts(runtime=BUILT, unfit=unfit))
    assert state(waiting) is State.PENDING
    assert headline(waiting) == unfit.message
    assert said(waiting, "Scheduled").reason == "InsufficientResources"


def test_waiting_for_room_never_counts_as_failing() -> None:
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=1))
    facts = Facts(runtime=BUILT, unfit=Unfit(message="insufficient cpu: needs 2, free 1"))
    for hours in range(5):
        wanted = after(wanted, replica(OLD), facts=facts, routed=OLD, now=NOW + 3600 * hours)
    assert wanted.status.failed_revision == 0


@pytest.mark.parametrize(
    ("runtime", "ok", "reason", "expected"),
    [
        (None, False, "RuntimeMissing", State.FAILED),
        (RuntimeStatus(), None, "RuntimeBuilding", State.PENDING),
        (
            RuntimeStatus(state=RuntimeState.FAILED, reason="IndexUnreachable"),
            False,
            "IndexUnreachable",
            State.FAILED,
        ),
        (BUILT, True, "RuntimeReady", State.STARTING),
    ],
)
def test_the_runtime_is_part_of_the_state(
    runtime: RuntimeStatus | None, ok: bool | None, reason: str, expected: State
) -> None:
    found = after(deployment(), facts=Facts(runtime=runtime))
    assert (said(found, "RuntimeReady").ok, said(found, "RuntimeReady").reason) == (ok, reason)
    assert state(found) is expected


def test_a_gateway_that_is_away_degrades_what_is_ready() -> None:
    away = Facts(runtime=BUILT, gateway=Failure(reason="GatewayUnavailable", message="it does not answer"))
    assert state(after(deployment(), replica(OLD), facts=away)) is State.DEGRADED


def test_a_failure_is_counted_once_however_often_it_is_seen() -> None:
    failed = replica(OLD, phase=Phase.FAILED)
    facts = Facts(runtime=BUILT, actions=(Kill(OLD, BROKEN),))
    seen = after(after(deployment(), failed, facts=facts), failed, facts=facts, now=NOW + 1)
    assert seen.status.crashes == Crashes(revision=1, count=1, last_at=NOW, failure=BROKEN)


def test_a_replica_that_was_leaving_does_not_count_when_it_ends() -> None:
    leaving = after(deployment(replicas=0), replica(OLD, phase=Phase.STOPPING))
    ended = after(leaving, replica(OLD, phase=Phase.FAILED, started_at=0.0), facts=crash(OLD))
    assert ended.status.crashes.count == 0


def test_the_failure_of_a_replica_that_was_sound_for_long_counts_as_the_first() -> None:
    many = DeploymentStatus(crashes=Crashes(revision=1, count=5, last_at=NOW - 99, failure=BROKEN))
    sound = after(deployment(status=many), replica(OLD), routed=OLD)
    soon, late = (
        after(sound, replica(OLD, phase=Phase.FAILED), facts=crash(OLD), now=NOW + seconds)
        for seconds in (5, 11)
    )
    assert (soon.status.crashes.count, late.status.crashes.count) == (6, 1)


def test_steady_readiness_forgets_earlier_failures() -> None:
    many = DeploymentStatus(crashes=Crashes(revision=1, count=5, last_at=NOW, failure=BROKEN))
    ready = after(deployment(status=many), replica(OLD), routed=OLD)
    assert ready.status.crashes.count == 5
    assert after(ready, replica(OLD), routed=OLD, now=NOW + 11).status.crashes.count == 0


def test_a_new_revision_that_fails_again_and_again_makes_way_for_the_good_one() -> None:
    assert failing(2).wanted_revision == 2
    fallen = failing(3)
    assert fallen.wanted_revision == 1
    assert fallen.status.failed == BROKEN
    assert said(fallen, "Progressing").reason == "RolledBack"
    assert "revision 2 failed (MissingPackage: no module named x); revision 1 serves" in headline(fallen)


def test_a_fall_back_lasts_until_the_next_change() -> None:
    later = after(failing(3), replica(OLD), routed=OLD, now=NOW + 9999)
    assert state(later) is State.DEGRADED
    assert (later.status.failed_revision, later.status.failed) == (2, BROKEN)
    mended = after(replace(later, revision=3, generation=3), replica(OLD), routed=OLD, now=NOW + 9999)
    assert (mended.status.failed_revision, mended.status.failed, mended.wanted_revision) == (0, None, 3)


def test_without_a_good_revision_a_failing_one_is_a_crash_loop() -> None:
    lost = failing(3, good=0)
    assert lost.wanted_revision == 2
    assert said(lost, "Progressing").reason == "CrashLoop"
    assert state(replace(lost, status=replace(lost.status, ready_replicas=0))) is State.FAILED


def test_a_revision_that_makes_no_progress_is_given_up_at_its_deadline() -> None:
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=1, observed_generation=2))
    limit = progress_deadline_seconds(wanted)
    stuck = (replica(OLD), replica(NEW, revision=2, phase=Phase.UNREADY))
    begun = after(wanted, *stuck, routed=OLD)
    assert after(begun, *stuck, routed=OLD, now=NOW + limit - 1).wanted_revision == 2
    given_up = after(begun, *stuck, routed=OLD, now=NOW + limit + 1)
    assert given_up.wanted_revision == 1
    assert given_up.status.failed is not None
    assert given_up.status.failed.reason == "LoadTimeout"


def test_a_revision_whose_runtime_cannot_be_built_is_given_up() -> None:
    broken = RuntimeStatus(state=RuntimeState.FAILED, reason="RuntimeBuildFailed", message="no such package")
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=1))
    given_up = after(wanted, replica(OLD), facts=Facts(runtime=broken), routed=OLD)
    assert given_up.wanted_revision == 1
    offline = replace(broken, reason="IndexUnreachable")
    assert after(wanted, replica(OLD), facts=Facts(runtime=offline), routed=OLD).wanted_revision == 2


def test_losing_a_replica_is_degraded() -> None:
    wanted = deployment(replicas=2)
    both = after(wanted, replica("a"), replica("b"), routed="a b")
    assert state(both) is State.RUNNING
    assert state(after(both, replica("a"), replica("b", phase=Phase.UNREADY), routed="a")) is State.DEGRADED


def test_a_condition_keeps_its_time_while_it_says_the_same() -> None:
    first = after(deployment(), replica(OLD), routed=OLD)
    second = after(first, replica(OLD), routed=OLD, now=NOW + 60)
    assert {c.since for c in second.status.conditions} == {NOW}
    third = after(second, replica(OLD), routed="", now=NOW + 90)
    assert said(third, "Routed").since == NOW + 90


def test_a_clock_that_was_set_back_does_not_postpone_the_deadline() -> None:
    wanted = deployment(revision=2, status=DeploymentStatus(good_revision=1, observed_generation=2))
    stuck = (replica(OLD), replica(NEW, revision=2, phase=Phase.UNREADY))
    begun = after(wanted, *stuck, routed=OLD, now=NOW + 86_400)
    set_back = after(begun, *stuck, routed=OLD)
    limit = progress_deadline_seconds(wanted)
    assert after(set_back, *stuck, routed=OLD, now=NOW + limit + 1).wanted_revision == 1


NO_ROOM = Failure(reason="InsufficientResources", message="0/3 nodes are available: 3 Insufficient cpu")


def test_a_started_replica_without_a_place_is_said_to_wait_and_costs_no_progress() -> None:
    waits = replica(NEW, phase=Phase.STARTING, revision=2, failure=NO_ROOM)
    before = deployment(revision=2, status=DeploymentStatus(good_revision=1))
    later = NOW + 10 * progress_deadline_seconds(before)
    since = after(before, replica(OLD), waits)
    found = after(since, replica(OLD), waits, now=later)
    assert (said(found, "Scheduled").reason, said(found, "Scheduled").ok) == ("InsufficientResources", False)
    assert said(found, "Progressing").reason != "ProgressDeadlineExceeded"
    assert found.status.failed is None
    assert headline(found).startswith("0/3 nodes")
    assert said(after(found, replica(OLD), replica(NEW, revision=2)), "Scheduled").ok


def test_a_status_that_is_old_says_so_once() -> None:
    status = after(deployment(), replica(), routed=replica().name).status
    old = unreachable(status, "no answer", now=NOW)
    assert is_stale(old)
    assert not is_stale(status)
    assert old.replicas == status.replicas
    again = unreachable(old, "no answer", now=NOW + 5)
    assert [c.since for c in again.conditions if c.type == "BackendReachable"] == [NOW]
    assert headline(replace(deployment(), status=again)) == "no answer"
