"""Routes of deployments whose endpoints share their requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.autoscaling import Autoscaling, ScalingStatus
from modelyard.domain.deployment import Deployment, DeploymentSpec, DeploymentStatus, Phase, Replica
from modelyard.domain.endpoint import Route
from modelyard.domain.limits import Limits
from modelyard.domain.rollout_status import RolloutStatus
from modelyard.domain.strategy import Kind, Strategy
from modelyard.domain.traffic_spec import EndpointSpec, MirrorTo, PinTo
from modelyard.gateway.routes import desired_routes, serves

_NAMES = ("a", "b", "c")
_REPLICAS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([Phase.READY, Phase.STARTING, Phase.DRAINING])), max_size=4
)
_REFS = st.sampled_from([*_NAMES, "a#1", "a#2", "b#1", "c#3"])


def deployment(name: str, replicas: list[tuple[int, Phase]], limits: Limits | None = None) -> Deployment:
    """A deployment with replicas, each of a revision and in a phase."""
    found = [
        Replica(name=f"{name}-{i}", revision=revision, phase=phase, address=f"unix:/{name}-{i}")
        for i, (revision, phase) in enumerate(replicas)
    ]
    return Deployment(
        project="default",
        name=name,
        spec=DeploymentSpec(model="m@1", limits=limits or Limits()),
        status=DeploymentStatus(replicas=tuple(found)),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def routed(deployments: list[Deployment], **specs: EndpointSpec) -> dict[str, Route]:
    """Service to its route."""
    endpoints = {f"default/{name}": spec for name, spec in specs.items()}
    routes = desired_routes(deployments, keys={}, domain="localhost", endpoints=endpoints)
    return {route.name.partition("/")[2]: route for route in routes}


@st.composite
def _specs(draw: st.DrawFn) -> EndpointSpec:
    weights: dict[str, int] = {}
    for ref in draw(st.lists(_REFS, max_size=3, unique=True)):
        weights[ref] = draw(st.integers(0, 100 - sum(weights.values())))
    mirrors = draw(st.lists(_REFS, max_size=2, unique=True))
    pins = draw(st.lists(_REFS, max_size=2))
    return EndpointSpec(
        weights=weights,
        mirrors=tuple(MirrorTo(to=to, percent=10) for to in mirrors),
        pins=tuple(PinTo(to=to, header="x-arm", value=to) for to in pins),
    )


@settings(deadline=None, max_examples=80)
@given(
    st.fixed_dictionaries(dict.fromkeys(_NAMES, _REPLICAS)),
    st.dictionaries(st.sampled_from(_NAMES), _specs()),
)
def test_routes_lead_only_to_ready_replicas_and_shares_of_one_name_are_one(
    replicas: dict[str, list[tuple[int, Phase]]], specs: dict[str, EndpointSpec]
) -> None:
    deployments = [deployment(name, found) for name, found in replicas.items()]
    ready = {r.name: r for d in deployments for r in d.status.replicas if serves(r)}
    known: dict[str, object] = {}
    for route in routed(deployments, **specs).values():
        assert sum(share.weight for share in route.shares) in (0, 100)
        assert all(share.targets for share in route.shares if share.weight)
        assert {pin.share for pin in route.pins} <= {share.name for share in route.shares if share.targets}
        for share in route.everywhere:
            assert {target.replica for target in share.targets} <= ready.keys()
            _, _, revision = share.name.partition("#")
            assert all(not revision or ready[t.replica].revision == int(revision) for t in share.targets)
            assert known.setdefault(share.name, (share.targets, share.limits)) == (
                share.targets,
                share.limits,
            )


def test_what_may_be_in_progress_is_divided_as_replicas_are() -> None:
    replicas = [(1, Phase.READY)] * 3 + [(2, Phase.READY)]
    limits = Limits(concurrency=8, pending=10, failures=3)
    route = routed([deployment("a", replicas, limits)], a=EndpointSpec(weights={"a#2": 50}))["a"]
    assert [(s.name, s.weight, s.limits.concurrency, s.limits.pending) for s in route.shares] == [
        ("default/a#1", 50, 6, 8),
        ("default/a#2", 50, 2, 3),
    ]
    assert {share.limits.failures for share in route.shares} == {3}
    plain = routed([deployment("a", replicas, limits)])["a"]
    assert [(share.name, share.limits) for share in plain.shares] == [("default/a", limits)]


def test_a_deployment_that_is_gone_gets_nothing_and_costs_nobody_a_request() -> None:
    ready = [(1, Phase.READY)]
    route = routed([deployment("a", ready)], a=EndpointSpec(weights={"b": 40}))["a"]
    assert [(share.name, share.weight) for share in route.shares] == [("default/a", 100), ("default/b", 0)]


def waking(replicas: list[tuple[int, Phase]], *, rollout: bool = True) -> Deployment:
    """A service that may sleep, in the middle of a canary's first step unless said otherwise."""
    divided = RolloutStatus(base=1, revision=2, weights=((1, 90), (2, 10)))
    made = deployment("a", replicas)
    return replace(
        made,
        revision=2,
        spec=DeploymentSpec(
            model="m@1",
            autoscaling=Autoscaling(min=0, max=2, on="concurrency:8"),
            strategy=Strategy(kind=Kind.CANARY),
        ),
        status=replace(
            made.status,
            good_revision=1,
            scaling=ScalingStatus(desired=0, reason="Idle"),
            rollout=divided if rollout else None,
        ),
    )


def test_who_sleeps_in_the_middle_of_a_rollout_is_woken_though_others_share_its_requests() -> None:
    (share, *_) = routed([waking([]), deployment("b", [])], a=EndpointSpec(weights={"b": 10}))["a"].shares
    assert share.waking


@pytest.mark.parametrize("ready", [[], [1], [2], [1, 2]])
def test_requests_held_for_one_that_sleeps_find_whoever_wakes_first(ready: list[int]) -> None:
    """They wait for one cluster, which a rollout neither takes away nor leaves empty."""
    replicas = [(revision, Phase.READY) for revision in ready]
    for rollout in (True, False):
        route = routed([waking(replicas, rollout=rollout)])["a"]
        held = {share.name: share for share in route.shares}["default/a"]
        assert held.waking
        assert {t.replica for t in held.targets} == {t.replica for t in route.targets}
        assert len(held.targets) == len(ready)
        if not ready:
            assert route.shares == (held,)
        assert sum(share.weight for share in route.shares) == (100 if ready else 0)


def test_others_get_from_a_service_in_a_rollout_what_its_steps_say() -> None:
    replicas = [(1, Phase.READY), (2, Phase.READY)]
    found = routed([waking(replicas), deployment("b", [(1, Phase.READY)])], b=EndpointSpec(weights={"a": 50}))
    (of_a,) = [share for share in found["b"].shares if share.name == "default/a"]
    assert [t.weight for t in sorted(of_a.targets, key=lambda t: t.revision)] == [90_000, 10_000]
    assert of_a.targets == {share.name: share for share in found["a"].shares}["default/a"].targets
