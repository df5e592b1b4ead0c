"""How an endpoint's requests are divided, whatever is asked and whoever is ready."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import Invalid
from modelyard.domain.traffic import Part, Ready, Steps, divide
from modelyard.domain.traffic_spec import EndpointSpec, MirrorTo, PinTo, Sticky, StickyBy, parse

_SERVICES = st.sampled_from(["churn", "b", "c", "d@test"])
_REFS = st.builds(
    lambda service, revision: f"{service}#{revision}" if revision else service, _SERVICES, st.integers(0, 3)
)
_READY = st.dictionaries(_SERVICES, st.dictionaries(st.integers(1, 3), st.integers(0, 5), max_size=3))
_STEPS = st.one_of(st.just(()), st.integers(0, 100).map(lambda new: ((1, 100 - new), (2, new))))


@st.composite
def _specs(draw: st.DrawFn) -> EndpointSpec:
    weights: dict[str, int] = {}
    for ref in draw(st.lists(_REFS, max_size=4, unique=True)):
        weights[ref] = draw(st.integers(0, 100 - sum(weights.values())))
    pins = [PinTo(to=to, header="x-arm", value=to) for to in draw(st.lists(_REFS, max_size=2))]
    return EndpointSpec(weights=weights, pins=tuple(pins))


def _count(part: Part, ready: Ready) -> int:
    revisions = ready.get(part.ref.service, {})
    return sum(revisions.values()) if part.ref.revision is None else revisions.get(part.ref.revision, 0)


def weights(spec: EndpointSpec, ready: Ready, steps: Steps = ()) -> dict[str, int]:
    """Place to percent for the service `churn`."""
    return {str(part.ref): part.weight for part in divide("churn", spec, ready, steps)}


@settings(deadline=None, max_examples=150)
@given(_specs(), _READY, _STEPS)
def test_weights_sum_to_100_and_only_ready_replicas_get_any(
    spec: EndpointSpec, ready: Ready, steps: Steps
) -> None:
    parts = divide("churn", spec, ready, steps)
    assert len({part.ref for part in parts}) == len(parts)
    assert sum(part.weight for part in parts) in (0, 100)
    assert all(part.weight == 0 for part in parts if not _count(part, ready))
    assert sum(part.asked for part in parts) == 100
    asked_and_ready = [part for part in parts if part.asked and _count(part, ready)]
    if asked_and_ready or any(ready.get("churn", {}).values()):
        assert sum(part.weight for part in parts) == 100
    if asked_and_ready:
        total = sum(part.asked for part in asked_and_ready)
        assert all(abs(part.weight - part.asked * 100 / total) < 1 for part in asked_and_ready)
    assert all(part.reason for part in parts if part.weight != part.asked)
    assert divide("churn", spec, ready, steps) == parts


@pytest.mark.parametrize(
    ("asked", "ready", "expected"),
    [
        ({}, {"churn": {1: 1}}, {"churn": 100}),
        ({}, {"churn": {}}, {"churn": 0}),
        ({"b": 20, "c": 10}, {"churn": {1: 1}, "b": {1: 2}, "c": {4: 1}}, {"churn": 70, "b": 20, "c": 10}),
        # What is not ready gets nothing, and the others share it in proportion.
        ({"b": 20, "c": 20}, {"churn": {1: 1}, "b": {}, "c": {4: 1}}, {"churn": 75, "b": 0, "c": 25}),
        ({"b": 30, "gone": 40}, {"churn": {1: 1}, "b": {1: 1}}, {"churn": 50, "b": 50, "gone": 0}),
        ({"b": 20}, {"churn": {}, "b": {1: 1}}, {"churn": 0, "b": 100}),
        # Nobody who was asked for is there, so the service answers itself.
        ({"b": 100}, {"churn": {1: 1}, "b": {}}, {"churn": 100, "b": 0}),
        ({"b": 100}, {"churn": {}, "b": {}}, {"churn": 0, "b": 0}),
        # Its own name may be said; what nobody is given is its own as well.
        ({"churn": 30, "b": 20}, {"churn": {1: 1}, "b": {1: 1}}, {"churn": 80, "b": 20}),
        # Beside a named revision, the rest is the other revisions'.
        ({"churn#2": 10}, {"churn": {1: 3, 2: 1}}, {"churn#1": 90, "churn#2": 10}),
        ({"churn#2": 10}, {"churn": {1: 1, 2: 1, 3: 2}}, {"churn#1": 30, "churn#3": 60, "churn#2": 10}),
        ({"churn#2": 10}, {"churn": {1: 3}}, {"churn#1": 100, "churn#2": 0}),
    ],
)
def test_the_remainder_is_the_services_own(
    asked: dict[str, int], ready: Ready, expected: dict[str, int]
) -> None:
    assert weights(EndpointSpec(weights=asked), ready) == expected


def test_a_rollout_divides_what_is_the_services_own() -> None:
    spec = EndpointSpec(weights={"b": 50})
    ready = {"churn": {1: 2, 2: 1}, "b": {1: 1}}
    assert weights(spec, ready, ((1, 90), (2, 10))) == {"churn#1": 45, "churn#2": 5, "b": 50}
    assert weights(EndpointSpec(), {"churn": {1: 2}}, ((1, 90), (2, 10))) == {"churn#1": 100, "churn#2": 0}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"weights": {"a": 60, "b": 41}}, "spec.weights"),
        ({"weights": {"a": -1}}, "spec.weights.a"),
        ({"weights": {"A b": 1}}, "spec.weights.A b"),
        ({"weights": {"a#0": 1}}, "spec.weights.a#0"),
        ({"weights": {"a#1@test": 1}}, "spec.weights.a#1@test"),
        ({"weights": {f"a{i}": 1 for i in range(17)}}, "spec.weights"),
        ({"mirrors": (MirrorTo(to="b", percent=101),)}, "spec.mirrors[0].percent"),
        ({"mirrors": (MirrorTo(to="b"), MirrorTo(to="b"))}, "spec.mirrors[1].to"),
        ({"pins": (PinTo(to="b", value="x"),)}, "spec.pins[0]"),
        ({"pins": (PinTo(to="b", value="x", header="x-a", cookie="a"),)}, "spec.pins[0]"),
        ({"pins": (PinTo(to="b", value="x\r\n", header="x-a"),)}, "spec.pins[0].value"),
        ({"pins": (PinTo(to="b", value="x", header="Authorization"),)}, "spec.pins[0].header"),
        ({"pins": (PinTo(to="b", value="x", header="x_a"),)}, "spec.pins[0].header"),
        ({"pins": (PinTo(to="b", value="x", cookie="a=b"),)}, "spec.pins[0].cookie"),
        ({"sticky": Sticky(by=StickyBy.HEADER)}, "spec.sticky.name"),
        ({"sticky": Sticky(by=StickyBy.SOURCE, name="x")}, "spec.sticky.name"),
        ({"sticky": Sticky(by=StickyBy.COOKIE, ttl_seconds=0)}, "spec.sticky.ttl_seconds"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        EndpointSpec(**spec)
    assert path in [error.path for error in refused.value.errors]


@pytest.mark.parametrize("text", ["churn", "churn@test", "churn#3", "churn@debug#12"])
def test_a_place_is_read_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text
