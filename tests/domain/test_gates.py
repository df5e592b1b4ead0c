"""Gates err rarely and notice what is wrong: seeded canaries in virtual time (`bench gates` has more)."""

from __future__ import annotations

import pytest

from modelyard.domain.gates import MetricGate
from modelyard.domain.judging import PATIENCE, Seen, judge
from modelyard.domain.rollout_status import Tally
from tests.domain.make import NOW
from tests.support.traffic import FAULTS, SOUND, Behaviour, Canary

ALIKE = 25
MOST_REQUESTS = {"wrong outputs": 1000, "slow": 100, "errors": 4500, "leak": 400}
"""As the guide states them, copies included."""


def test_a_revision_like_the_one_before_is_promoted() -> None:
    outcomes = [Canary(seed, SOUND).run() for seed in range(ALIKE)]
    assert [each.rollout.message for each in outcomes if each.rolled_back] == []


def test_what_always_failed_may_go_on_failing() -> None:
    errors = Behaviour(errors=0.03)
    outcomes = [Canary(seed, errors, old=errors, gates=("errors=1%",)).run() for seed in range(10)]
    assert not any(each.rolled_back for each in outcomes)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_is_taken_back_within_the_stated_number_of_requests(fault: str, seed: int) -> None:
    outcome = Canary(seed, FAULTS[fault]).run()
    assert outcome.rolled_back
    assert outcome.requests <= MOST_REQUESTS[fault], outcome.rollout.message


def test_a_metric_must_stay_out_of_its_bound_to_fail() -> None:
    gate, tally = MetricGate("depth", 5.0, most=True), Tally(gate="metric:depth<=5")
    for values, failed in (
        ([9.0] * (PATIENCE - 1), False),
        ([9.0, 1.0, 9.0], False),
        ([9.0] * PATIENCE, True),
    ):
        after = tally
        for value in values:
            after = judge(gate, after, Seen(metrics={"depth": value}), new=(), old=(), now=NOW)
        assert after.failed is failed
    assert judge(gate, tally, Seen(), new=(), old=(), now=NOW).waits
