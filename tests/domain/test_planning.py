"""What a plan says of replicas and resources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import planning, quantity
from modelyard.domain.deployment import Resources, Stage
from modelyard.domain.planning import Act, Total
from tests.domain.make import deployment, spec


@pytest.mark.parametrize(
    ("there", "reruns", "changes", "kind"),
    [
        (False, True, True, Act.CREATE),
        (True, True, True, Act.REPLACE),
        (True, False, True, Act.CHANGE),
        (True, False, False, Act.NOTHING),
    ],
)
def test_the_act(there: bool, reruns: bool, changes: bool, kind: Act) -> None:
    before = deployment() if there else None
    assert planning.act(before, reruns=reruns, changes=changes) is kind


def test_a_replacement_holds_old_and_surge_for_a_while() -> None:
    old = spec(replicas=3, resources=Resources(cpu="1", memory="1Gi"))
    new = spec(replicas=3, max_surge=1, resources=Resources(cpu="2", memory="1Gi"))
    assert planning.totals(old, new, Act.REPLACE) == (
        Total(resource="cpu", before="3", after="6", at_most="6"),
        Total(resource="memory", before="3Gi", after="3Gi", at_most="4Gi"),
    )


@pytest.mark.parametrize(
    ("had", "wanted", "surge", "added"),
    [(5, 5, 1, 1), (1, 5, 1, 5), (0, 5, 1, 5), (3, 5, 1, 3), (5, 1, 1, 1)],
)
def test_a_replacement_that_grows_needs_room_for_all_that_is_new(
    had: int, wanted: int, surge: int, added: int
) -> None:
    old, new = spec(replicas=had), spec(replicas=wanted, max_surge=surge)
    assert planning.added_replicas(old, new, Act.REPLACE) == added


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.sampled_from(Act))
def test_at_most_is_no_less_than_before_and_after(had: int, wanted: int, surge: int, kind: Act) -> None:
    old = spec(replicas=had, resources=Resources(cpu="1"))
    new = spec(replicas=wanted, max_surge=surge, resources=Resources(cpu="1"))
    before = None if kind is Act.CREATE else old
    for total in planning.totals(before, new, kind):
        was, would, most = (
            quantity.parse_cpu(value, "cpu") for value in (total.before, total.after, total.at_most)
        )
        assert most >= max(was, would)


def test_traffic_says_who_answers() -> None:
    off, on = spec(replicas=0), spec(replicas=2)
    words = [
        planning.traffic(None, on, Act.CREATE, Stage.PRODUCTION),
        planning.traffic(on, on, Act.REPLACE, Stage.PRODUCTION),
        planning.traffic(off, on, Act.REPLACE, Stage.PRODUCTION),
        planning.traffic(off, on, Act.CHANGE, Stage.PRODUCTION),
        planning.traffic(on, off, Act.CHANGE, Stage.PRODUCTION),
        planning.traffic(on, on, Act.CHANGE, Stage.TEST),
    ]
    assert words == [
        "answers once the first replica is ready",
        "old replicas answer until new ones are ready, 1 at a time; no request is lost",
        "it was offline, and answers once the first replica is ready",
        "it was offline, and answers once the first replica is ready",
        "nobody answers: it is offline",
        "as before; only callers of the test address meet it",
    ]
