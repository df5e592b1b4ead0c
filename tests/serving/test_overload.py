"""More requests than the model can answer: what is answered is in time, and the rest hears so early."""

from __future__ import annotations

import pytest

from modelyard.serving.batching.policy import AUTO, Policy
from modelyard.serving.jobs import HIGHEST_PRIORITY, LOWEST_PRIORITY, USUAL_PRIORITY
from modelyard.serving.overload import Flow
from tests.serving.simulation import Service

SECONDS = 0.01
DEADLINE = 0.25


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [64, 10_000])
def test_at_twice_the_capacity_nine_tenths_of_it_are_answered_in_time(workers: int, limit: int) -> None:
    capacity = workers / SECONDS
    service = Service(lambda _: SECONDS, workers=workers, limit=limit)
    service.come(2 * capacity, 5.0, timeout=DEADLINE)
    waiting: list[int] = []
    for second in range(20):
        service.world.call_later(second, lambda: waiting.append(service.dispatcher.waiting))
    outcome = service.come(2 * capacity, 20.0, timeout=DEADLINE)
    assert sum(latency <= DEADLINE for latency in outcome.latencies) >= 0.9 * capacity * 20.0
    # What is begun is finished in time: no work is thrown away.
    assert all(latency <= DEADLINE + 0.001 for latency in outcome.latencies)
    early = [problem for problem in outcome.problems if problem.status == 503]
    assert {problem.reason for problem in early} <= {"Late", "QueueFull"}
    assert all(problem.safe for problem in early)
    # Hardly anybody waits for nothing.
    assert len(early) >= 0.8 * len(outcome.problems)
    # Memory is flat: the queue is no longer than what can be done before the deadline.
    assert max(waiting) <= min(limit, 1.1 * DEADLINE * capacity + 1)


def test_shared_calls_carry_their_capacity_at_twice_of_it_too() -> None:
    def cost(rows: int) -> float:
        return 0.005 + 0.0005 * rows

    capacity = 64 / cost(64)
    service = Service(cost, policy=Policy(mode=AUTO, slo_seconds=DEADLINE), limit=512)
    service.come(2 * capacity, 5.0, timeout=DEADLINE)
    outcome = service.come(2 * capacity, 5.0, timeout=DEADLINE)
    assert sum(latency <= DEADLINE for latency in outcome.latencies) >= 0.9 * capacity * 5.0


def test_below_the_capacity_nobody_is_turned_away() -> None:
    service = Service(lambda _: SECONDS)
    outcome = service.come(0.8 / SECONDS, 60.0, timeout=60 * SECONDS)
    assert outcome.problems == []


def test_requests_that_matter_more_are_begun_first_and_take_the_place_of_others() -> None:
    service = Service(lambda _: SECONDS, limit=16)
    for _ in range(17):
        service.ask(priority=LOWEST_PRIORITY)
    for priority in (USUAL_PRIORITY, HIGHEST_PRIORITY):
        service.ask(priority=priority)
    assert [problem.reason for problem in service.outcome.problems] == ["QueueFull"] * 2
    service.ask(priority=LOWEST_PRIORITY)
    assert len(service.outcome.problems) == 3
    service.world.run(1.0)
    latencies = service.outcome.latencies_of
    assert latencies[HIGHEST_PRIORITY][0] < latencies[USUAL_PRIORITY][0] < latencies[LOWEST_PRIORITY][1]


def test_a_refusal_says_when_the_queue_will_be_gone() -> None:
    service = Service(lambda _: 0.5, limit=8)
    service.come(1.9, 10.0)
    for _ in range(12):
        service.ask()
    refused = service.outcome.problems[-1]
    assert refused.reason == "QueueFull"
    assert refused.headers["Retry-After"] == "4"
    assert refused.headers["x-modelyard-retry"] == "safe"


def test_who_cannot_be_in_time_hears_it_at_once_and_others_are_not_guessed_about() -> None:
    service = Service(lambda _: 0.5, limit=99)
    for _ in range(9):
        service.ask()
    service.ask(timeout=1.0)
    # Nothing is known of the model yet, so that nobody is turned away on suspicion.
    assert service.outcome.problems == []
    service.world.run(10.0)
    for _ in range(4):
        service.ask()
    service.ask(timeout=1.0)
    late = service.outcome.problems[-1]
    assert (late.status, late.reason, service.world.now) == (503, "Late", 10.0)
    assert "1 s, its deadline" in late.message


def test_a_forecast_goes_by_the_best_and_a_wait_by_the_usual() -> None:
    flow = Flow()
    assert not flow.is_late(0.0, ahead=100, workers=1)
    assert flow.retry_after(ahead=100, workers=1) == 1
    for seconds in [1.0] * 7 + [0.1] * 3:
        flow.observe(1, seconds)
    assert not flow.is_late(1.0, ahead=8, workers=1)
    assert flow.is_late(1.0, ahead=10, workers=1)
    assert not flow.is_late(1.0, ahead=10, workers=2)
    assert flow.retry_after(ahead=10, workers=1) == 8
    assert flow.retry_after(ahead=10_000, workers=1) == 60
