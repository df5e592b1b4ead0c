"""Routes as objects of the Gateway API, and who does what of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.endpoint import Mirror, Pin, Route, Share, Target, Waking
from modelyard.domain.limits import Limits
from modelyard.domain.traffic_spec import Sticky, StickyBy
from modelyard.gateway.gateway_api import hosts, planning, rendering, rules
from modelyard.gateway.gateway_api.planning import Feature, Where
from modelyard.gateway.gateway_api.site import Offer, Place, Site
from tests.gateway.support import route
from tests.support.cluster import crds, schemas, validation

Json = dict[str, Any]

CORE = frozenset(
    {
        "Gateway", "HTTPRoute", "ReferenceGrant", "HTTPRouteMethodMatching", "HTTPRouteQueryParamMatching",
        "HTTPRoutePathRewrite", "HTTPRouteSchemeRedirect",
    }
)  # fmt: skip
FULL = CORE | {
    "HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout", "HTTPRouteBackendTimeout", "GRPCRoute",
}  # fmt: skip
CLASSES = {
    "envoy-gateway": FULL,
    "istio": FULL,
    "cilium": FULL,
    "nginx": FULL - {"HTTPRouteRequestTimeout", "HTTPRouteBackendTimeout"},
    "traefik": CORE,
}
"""What implementations say of themselves, as their conformance reports have it."""
KINDS = {resource.kind: resource for resource, _ in crds.GATEWAY_API}
SCHEMAS = schemas.load("1.37", crds.GATEWAY_API)
ROUTER = Place(namespace="modelyard-system", name="modelyard-router", port=80)


def an_offer(name: str = "envoy-gateway", *, router: bool = True, direct: bool = False) -> Offer:
    return Offer(
        gateway_class=name,
        features=CLASSES[name],
        router=ROUTER if router else None,
        router_second=81,
        router_selector={"app.kubernetes.io/component": "router"},
        direct=direct,
    )


def a_site(offer: Offer, **more: Any) -> Site:
    return Site(
        namespace="modelyard-system",
        offer=offer,
        namespace_of=lambda project: f"modelyard-{project}",
        service_of=lambda service, revision: f"{service.partition('/')[2].replace('@', '-')}-r{revision}",
        **more,
    )


def some(name: str, revision: int, count: int, weight: int = 100) -> Share:
    targets = tuple(
        Target(replica=f"{name}-{revision}-{i}", address=f"10.0.{revision}.{i}:8080", revision=revision)
        for i in range(count)
    )
    return Share(name=name, targets=targets, weight=weight)


def served(name: str = "vision/demo", *shares: Share, **more: Any) -> Route:
    return replace(route(name), shares=shares or (some(name, 7, 2),), **more)


def of_kind(objects: tuple[Json, ...], kind: str) -> list[Json]:
    return [each for each in objects if each["kind"] == kind]


def leads(http: Json) -> list[tuple[str, int]]:
    return [(b["name"], b.get("weight", 1)) for b in http["spec"]["rules"][-1]["backendRefs"]]


def by_host(objects: tuple[Json, ...], host: str) -> Json:
    (found,) = [each for each in of_kind(objects, "HTTPRoute") if host in each["spec"].get("hostnames", ())
                and each["metadata"]["name"].startswith("host-")]  # fmt: skip
    return found


def test_a_host_leads_to_revisions_by_weight_with_pins_mirrors_and_a_time_out() -> None:
    own = "vision/demo"
    demo = served(
        own,
        some(f"{own}#7", 7, 2, 90),
        some(f"{own}#8", 8, 1, 10),
        pins=(Pin(share=f"{own}#8", value="r8", header="x-arm"),),
        mirrors=(Mirror(share=some("vision/shadow", 3, 1), percent=20),),
    )
    found = rendering.objects([demo], a_site(an_offer(direct=True), https_port=443, certificates=("tls",)))
    http = by_host(found, "demo.vision.service.localhost")
    pinned, main = http["spec"]["rules"]
    assert pinned["matches"][0]["headers"] == [{"type": "Exact", "name": "x-arm", "value": "r8"}]
    assert [b["name"] for b in pinned["backendRefs"]] == ["demo-r8"]
    assert leads(http) == [("demo-r7", 90_000), ("demo-r8", 10_000)]
    assert main["timeouts"] == {"request": "62s"}
    (mirror,) = [f["requestMirror"] for f in main["filters"] if f["type"] == "RequestMirror"]
    assert (mirror["percent"], mirror["backendRef"]["name"]) == (20, "shadow-r3")
    assert {p["sectionName"] for p in http["spec"]["parentRefs"]} == {"http", "https"}
    (grpc,) = of_kind(found, "GRPCRoute")
    assert grpc["spec"]["hostnames"] == ["demo-grpc.vision.service.localhost"]
    (grant,) = of_kind(found, "ReferenceGrant")
    assert grant["metadata"]["namespace"] == "modelyard-vision"


def test_replicas_of_two_revisions_in_one_share_get_their_part_by_how_many_are_ready() -> None:
    both = Share(name="vision/demo", targets=(*some("a", 1, 3).targets, *some("b", 2, 1).targets))
    found = rendering.objects([served("vision/demo", both)], a_site(an_offer(router=False)))
    assert leads(by_host(found, "demo.vision.service.localhost")) == [
        ("demo-r1", 75_000),
        ("demo-r2", 25_000),
    ]


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"public": False}, Feature.TOKENS),
        ({"isolated": True}, Feature.ISOLATION),
        ({"limits": Limits(requests_per_second=5)}, Feature.RATE),
        ({"compares": True}, Feature.COMPARISON),
        (
            {"shares": (replace(some("vision/demo", 7, 1), waking=Waking(requests=9, seconds=9)),)},
            Feature.WAKING,
        ),
        ({"shares": (replace(some("vision/demo", 7, 1), limits=Limits(concurrency=3)),)}, Feature.BOUNDS),
        ({"shares": (replace(some("vision/demo", 7, 1), limits=Limits(failures=3)),)}, Feature.BREAKER),
        ({"pins": (Pin(share="vision/demo", value="a", cookie="arm"),)}, Feature.COOKIE_PINS),
        (
            {
                "shares": (some("vision/demo#1", 1, 1, 50), some("vision/demo#2", 2, 1, 50)),
                "sticky": Sticky(by=StickyBy.SOURCE),
            },
            Feature.STICKY,
        ),
    ],
)
def test_what_gateway_api_cannot_express_leads_to_the_router_or_is_said_not_to_be_there(
    change: Json, feature: Feature
) -> None:
    demo = replace(served(), **change)
    offer = an_offer(direct=True)
    decided = {each.feature: each for each in planning.plan(demo, offer)}
    assert decided[feature].where is Where.ROUTER
    words = "is not known" if feature is Feature.ISOLATION else "cannot express"
    assert words in decided[feature].reason
    assert decided[Feature.HOSTS].where is Where.ROUTER
    assert feature.value in decided[Feature.HOSTS].reason
    found = rendering.objects([demo], a_site(offer))
    assert leads(by_host(found, "demo.vision.service.localhost")) == [("modelyard-router", 1)]
    alone = {each.feature: each.where for each in planning.plan(demo, an_offer(router=False))}
    assert alone[feature] is Where.NOBODY


def test_nobody_comes_in_unjudged_where_there_is_no_router_to_judge_tokens() -> None:
    found = rendering.objects([served(public=False)], a_site(an_offer(router=False)))
    assert not of_kind(found, "HTTPRoute")
    assert not of_kind(found, "GRPCRoute")


@pytest.mark.parametrize(
    ("name", "mirror", "percent", "timeout"),
    [
        ("envoy-gateway", Where.GATEWAY, Where.GATEWAY, Where.GATEWAY),
        ("istio", Where.GATEWAY, Where.GATEWAY, Where.GATEWAY),
        ("cilium", Where.GATEWAY, Where.GATEWAY, Where.GATEWAY),
        ("nginx", Where.GATEWAY, Where.GATEWAY, Where.ROUTER),
        ("traefik", Where.ROUTER, Where.ROUTER, Where.ROUTER),
    ],
)
def test_each_class_does_what_it_says_that_it_supports(
    name: str, mirror: Where, percent: Where, timeout: Where
) -> None:
    table = {each.feature: each for each in planning.table(an_offer(name, direct=True))}
    assert (table[Feature.MIRROR].where, table[Feature.PERCENT].where) == (mirror, percent)
    assert table[Feature.TIMEOUT].where is timeout
    assert table[Feature.WEIGHTS].where is Where.GATEWAY
    assert table[Feature.TOKENS].where is Where.ROUTER
    if mirror is Where.ROUTER:
        assert table[Feature.MIRROR].reason == f"GatewayClass {name} does not support HTTPRouteRequestMirror"
    mirrored = served(mirrors=(Mirror(share=some("vision/shadow", 3, 1), percent=20),))
    assert planning.straight(mirrored, an_offer(name, direct=True)) is (mirror is Where.GATEWAY)
    if mirror is Where.GATEWAY:
        said = {d.feature: d.reason for d in planning.plan(mirrored, an_offer(name, direct=True))}
        assert "calls over gRPC are not copied" in said[Feature.MIRROR]


def test_unless_it_is_asked_for_all_services_are_led_to_the_router_where_they_are_counted() -> None:
    found = rendering.objects([served()], a_site(an_offer()))
    assert leads(by_host(found, "demo.vision.service.localhost")) == [("modelyard-router", 1)]
    assert not of_kind(found, "ReferenceGrant")
    decided = {each.feature: each for each in planning.plan(served(), an_offer())}
    assert "counted" in decided[Feature.HOSTS].reason


def test_a_service_without_a_ready_replica_leads_to_the_router_which_says_so_or_holds() -> None:
    asleep = served("vision/demo", Share(name="vision/demo", targets=(), weight=0))
    found = rendering.objects([asleep], a_site(an_offer(direct=True)))
    assert leads(by_host(found, "demo.vision.service.localhost")) == [("modelyard-router", 1)]


def test_ports_that_no_node_opens_are_said_to_lead_nowhere() -> None:
    (decision,) = [
        d for d in planning.plan(served(ports=(30010,)), an_offer()) if d.feature is Feature.OWN_PORTS
    ]
    assert (decision.where, decision.reason) == (Where.ROUTER, "by a NodePort that leads there")
    outside = served(ports=(8443,))
    (decision,) = [d for d in planning.plan(outside, an_offer()) if d.feature is Feature.OWN_PORTS]
    assert decision.where is Where.NOBODY
    assert "gateway.port_base" in decision.reason


def test_stages_have_flat_hosts_for_certificates_unless_another_service_has_that_host() -> None:
    staged, other = served("default/churn@test"), served("default/test-churn")
    (alone,) = hosts.with_aliases([staged])
    assert alone.aliases == ("test-churn.service.localhost", "test-churn-grpc.service.localhost")
    beside = {each.name: each.aliases for each in hosts.with_aliases([staged, other])}
    assert "test-churn.service.localhost" not in beside["default/churn@test"]


def test_without_a_router_services_answer_by_path_and_by_header_as_many_to_a_route_as_fit() -> None:
    many = [served(f"default/s{i:02}") for i in range(30)]
    found = rendering.objects(many, a_site(an_offer(router=False)))
    fronts = [each for each in of_kind(found, "HTTPRoute") if each["metadata"]["name"].startswith("front")]
    matches = [rule["matches"][0] for each in fronts for rule in each["spec"]["rules"]]
    paths = {match["path"]["value"] for match in matches}
    assert {f"/services/default/s{i:02}" for i in range(30)} <= paths
    assert {f"/v2/models/s{i:02}" for i in range(30)} <= paths
    headers = {h["value"] for m in matches for h in m.get("headers", ()) if h["name"] == "location"}
    assert headers == {f"s{i:02}.service.localhost" for i in range(30)}
    assert len(fronts) > 1


_NAMES = st.sampled_from(["default/a", "default/b", "vision/a", "vision/demo", "default/a@test"])


@st.composite
def some_routes(draw: st.DrawFn) -> list[Route]:
    found = []
    for name in draw(st.lists(_NAMES, unique=True, max_size=5)):
        numbers = draw(st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=20))
        shares = tuple(
            some(f"{name}#{number}", number, draw(st.integers(0, 3)), draw(st.integers(0, 100)))
            for number in numbers
        )
        known = draw(st.lists(st.sampled_from(shares), max_size=20))
        pins = tuple(Pin(share=s.name, value=str(i), header="x-arm") for i, s in enumerate(known))
        mirrored = draw(st.lists(st.sampled_from(shares), max_size=3))
        mirrors = tuple(Mirror(share=s, percent=draw(st.integers(0, 100))) for s in mirrored)
        more = {
            "public": draw(st.booleans()),
            "hosted": draw(st.booleans()),
            "ports": tuple(draw(st.lists(st.integers(1024, 40_000), max_size=2))),
            "timeout_seconds": draw(st.floats(0.01, 1e6)),
            "limits": Limits(requests_per_second=draw(st.sampled_from([0, 0, 0.5]))),
        }
        found.append(served(name, *shares, pins=pins, mirrors=mirrors, **more))
    return found


@st.composite
def some_site(draw: st.DrawFn) -> Site:
    offer = an_offer(
        draw(st.sampled_from(sorted(CLASSES))), router=draw(st.booleans()), direct=draw(st.booleans())
    )
    return a_site(
        offer, https_port=draw(st.sampled_from([0, 443])), second_port=draw(st.sampled_from([0, 8080]))
    )


def _rules(objects: tuple[Json, ...]) -> Iterator[Json]:
    for each in objects:
        if each["kind"] in ("HTTPRoute", "GRPCRoute"):
            assert 1 <= len(each["spec"]["rules"]) <= 16
            assert len(each["spec"].get("hostnames", ())) <= 16
            yield from each["spec"]["rules"]


@settings(max_examples=200)
@given(some_routes(), some_site())
def test_whatever_is_routed_keeps_within_the_bounds_and_never_opens_what_wants_a_token(
    routes: list[Route], site: Site
) -> None:
    objects = rendering.objects(routes, site)
    places = [(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects]
    assert len(places) == len(set(places))
    assert objects == rendering.objects(list(reversed(routes)), site)
    assert [wrong for each in objects for wrong in _refused(each)] == []
    closed = {r.name for r in routes if not r.public}
    for rule in _rules(objects):
        assert len(rule.get("backendRefs", ())) <= 16
        assert len(rule.get("filters", ())) <= 16
        assert len(rule.get("matches", ())) <= 64
        assert all(0 <= b.get("weight", 1) <= 1_000_000 for b in rule.get("backendRefs", ()))
        for each in rule.get("filters", ()):
            assert len(each.get("requestHeaderModifier", {}).get("remove", ())) <= 16
    for each in objects:
        named = each["metadata"].get("annotations", {}).get("modelyard.dev/route")
        if named in closed and each["kind"] != "Service":
            assert {b["name"] for r in each["spec"]["rules"] for b in r["backendRefs"]} == {ROUTER.name}
    by_kind = sorted(
        (host, o["kind"]) for o in objects if not o["metadata"]["name"].startswith("second-")
        for host in o["spec"].get("hostnames", ())
    )  # fmt: skip
    assert all(len(list(same)) == 1 for _, same in groupby(by_kind, key=lambda pair: pair[0]))


def _refused(value: Json) -> list[str]:
    """What an API server would say against an object, by the bounds of the released resources."""
    if value["kind"] not in KINDS:
        return []
    return list(validation.invalid_values(SCHEMAS, SCHEMAS.of(KINDS[value["kind"]]), value))


@settings(max_examples=100)
@given(some_routes(), some_site())
def test_weights_of_revisions_are_in_the_proportion_of_shares_and_ready_replicas(
    routes: list[Route], site: Site
) -> None:
    for each in routes:
        serving = [s for s in each.shares if s.weight > 0 and s.targets]
        found = {b["name"]: b["weight"] for b in rules.backends(each.shares, site)}
        total, whole = sum(found.values()), sum(s.weight for s in serving)
        for s in serving:
            name = site.service_of(s.service, s.targets[0].revision)
            assert found[name] / total == pytest.approx(s.weight / whole, abs=0.001)
        assert len(found) == len(serving)


def test_everything_that_a_route_needs_is_decided_and_has_a_reason_where_the_gateway_does_not_do_it() -> None:
    demo = served(public=False, ports=(31000,), mirrors=(Mirror(share=some("vision/x", 1, 1), percent=5),))
    for offer in (an_offer(), an_offer(direct=True), an_offer("traefik"), an_offer(router=False)):
        decided = planning.plan(demo, offer)
        assert {d.feature for d in decided} == planning.needed(demo)
        assert all(d.reason for d in decided if d.where is not Where.GATEWAY)


def test_however_many_services_had_the_host_before_its_route_is_taken() -> None:
    former = tuple(f"vision/{'long' * 14}-{number:03}" for number in range(200))
    objects = rendering.objects([served(former=former)], a_site(an_offer(direct=True)))
    assert [wrong for each in objects for wrong in _refused(each)] == []
    http = by_host(objects, "demo.vision.service.localhost")
    (header,) = http["spec"]["rules"][0]["filters"][0]["requestHeaderModifier"]["set"]
    named = header["value"].split(",")
    assert named[0] == "demo"
    assert tuple(named[1:]) == former[: len(named) - 1]
    assert len(named) > 50


def test_without_a_router_what_nobody_can_do_is_left_out_and_said() -> None:
    own = "vision/demo"
    shares = tuple(some(f"{own}#{number}", number, 1, number) for number in range(1, 19))
    demo = served(own, *shares, mirrors=(Mirror(share=some("vision/x", 1, 1), percent=5),))
    offer = an_offer("traefik", router=False)
    http = by_host(rendering.objects([demo], a_site(offer)), "demo.vision.service.localhost")
    assert {name for name, _ in leads(http)} == {f"demo-r{number}" for number in range(3, 19)}
    assert not [f for rule in http["spec"]["rules"] for f in rule["filters"] if f["type"] == "RequestMirror"]
    decided = {each.feature: each for each in planning.plan(demo, offer)}
    assert decided[Feature.WEIGHTS].where is Where.NOBODY
    assert "this one needs 18" in decided[Feature.WEIGHTS].reason
    assert decided[Feature.MIRROR].where is Where.NOBODY
