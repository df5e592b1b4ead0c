"""Which routes there should be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.deployment import Deployment, DeploymentSpec, DeploymentStatus, Phase, Replica, Stage
from modelyard.domain.endpoint import Addresses
from modelyard.gateway.routes import addresses, desired_routes
from tests.gateway.support import access, key

_NAMES = st.sampled_from(["churn", "test", "debug", "a", "fraud-2"])
_REPLICAS = st.builds(
    Replica,
    name=st.uuids().map(str),
    revision=st.just(1),
    phase=st.sampled_from(Phase),
    address=st.sampled_from(["", "unix:/run/a.sock", "10.0.0.1:80"]),
    draining_since=st.sampled_from([0.0, 5.0]),
    stopping_since=st.sampled_from([0.0, 5.0]),
)
_DEPLOYMENTS = st.builds(
    Deployment,
    project=st.sampled_from(["default", "churn", "shop"]),
    name=_NAMES,
    stage=st.sampled_from(Stage),
    spec=st.builds(DeploymentSpec, model=st.just("m@1"), public=st.booleans()),
    status=st.builds(DeploymentStatus, replicas=st.lists(_REPLICAS, max_size=4).map(tuple)),
    created_at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    deleting=st.booleans(),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "default/churn",
            Addresses(
                host="churn.service.localhost", path="/services/default/churn", alias="/v2/models/churn"
            ),
        ),
        (
            "default/churn@test",
            Addresses(host="test.churn.service.localhost", path="/services/default/churn@test"),
        ),
        ("shop/churn", Addresses(host="churn.shop.service.localhost", path="/services/shop/churn")),
        (
            "shop/churn@debug",
            Addresses(host="debug.churn.shop.service.localhost", path="/services/shop/churn@debug"),
        ),
    ],
)
def test_a_service_has_its_host_its_path_and_in_the_default_project_an_alias(
    name: str, expected: Addresses
) -> None:
    assert addresses(key(name), domain="localhost") == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(_DEPLOYMENTS, max_size=6, unique_by=lambda d: d.key))
def test_routes_lead_only_to_ready_replicas_that_are_not_leaving(deployments: list[Deployment]) -> None:
    routes = {r.name: r for r in desired_routes(deployments, keys={}, domain="localhost")}
    assert set(routes) == {str(d.key) for d in deployments if not d.deleting}
    for deployment in deployments:
        if deployment.deleting:
            continue
        route = routes[str(deployment.key)]
        chosen = {t.replica for t in route.targets}
        for replica in deployment.status.replicas:
            leaving = replica.draining_since > 0 or replica.stopping_since > 0
            fit = replica.phase is Phase.READY and not leaving and replica.address != ""
            assert (replica.name in chosen) == fit
        assert route.public == deployment.spec.public


@settings(deadline=None, max_examples=60)
@given(st.lists(_DEPLOYMENTS, max_size=6, unique_by=lambda d: d.key), st.randoms())
def test_the_order_in_which_deployments_come_changes_nothing(
    deployments: list[Deployment], random: object
) -> None:
    shuffled = list(deployments)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    wanted = desired_routes(deployments, keys={}, domain="localhost")
    assert desired_routes(shuffled, keys={}, domain="localhost") == wanted


@settings(deadline=None, max_examples=60)
@given(_DEPLOYMENTS.filter(lambda d: not d.deleting))
def test_each_route_carries_the_keys_and_the_deadline_of_its_own_deployment(deployment: Deployment) -> None:
    keys = {deployment.key: [access("one")], key("shop/other"): [access("two")]}
    (route,) = desired_routes([deployment], keys=keys, domain="localhost")
    assert route.keys == (access("one"),)
    assert route.timeout_seconds == deployment.spec.request_timeout_seconds
    assert route.service == deployment.key.service
