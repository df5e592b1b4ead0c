"""The data plane of the tests sends requests as the Gateway API says, whoever wrote the routes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.doors import SYSTEM, TEAM, Doors, opened
from tests.support.patience import PATIENCE

Json = dict[str, Any]
ANY = {"from": "All"}


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with opened(tmp_path) as found:
        for name in ("one", "two", "three"):
            await found.backend(name)
        yield found


def gateway(doors: Doors, *listeners: Json, name: str = "modelyard") -> None:
    plain = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": ANY}}
    spec = {"gatewayClassName": "envoy", "listeners": list(listeners) or [plain]}
    doors.create("Gateway", name, SYSTEM, spec=spec)


def route(doors: Doors, name: str, *rules: Json, hosts: tuple[str, ...] = (), **more: Any) -> None:
    namespace, kind = more.pop("namespace", TEAM), more.pop("kind", "HTTPRoute")
    parent = {"name": "modelyard", "namespace": SYSTEM, **more}
    spec = {"parentRefs": [parent], "hostnames": list(hosts), "rules": list(rules)}
    doors.create(kind, name, namespace, spec=spec)


def to(*names: str, **rule: Any) -> Json:
    return {"backendRefs": [{"name": name, "port": 80} for name in names], **rule}


def at(path: str, kind: str = "PathPrefix", **more: Any) -> list[Json]:
    return [{"path": {"type": kind, "value": path}, **more}]


async def test_hosts_are_found_with_and_without_wildcards_and_the_closest_counts(doors: Doors) -> None:
    gateway(doors)
    route(doors, "exact", to("one"), hosts=("a.example.com",))
    route(doors, "wide", to("two"), hosts=("*.example.com",))
    route(doors, "all", to("three", matches=at("/known")))
    await doors.settled()
    assert await doors.who("a.example.com") == "one"
    assert await doors.who("A.example.com:1234") == "one"
    assert await doors.who("b.c.example.com") == "two"
    assert await doors.who("example.com") == "404"
    assert await doors.who("elsewhere.org", "/known/x") == "three"
    assert await doors.who("elsewhere.org") == "404"


async def test_matches_come_in_the_order_of_the_standard_whatever_the_order_of_rules(doors: Doors) -> None:
    gateway(doors)
    by_header = {"headers": [{"name": "x-arm", "value": "b"}]}
    route(
        doors, "rules",
        to("one", matches=at("/")),
        to("two", matches=at("/foo")),
        to("three", matches=at("/foo/exact", "Exact")),
        to("three", matches=at("/foo", **by_header)),
        hosts=("a.example.com",),
    )  # fmt: skip
    await doors.settled()
    assert await doors.who("a.example.com", "/foo/exact") == "three"
    assert await doors.who("a.example.com", "/foo/exact/not") == "two"
    assert await doors.who("a.example.com", "/foo?x=1") == "two"
    assert await doors.who("a.example.com", "/foobar") == "one", "a prefix is one of whole elements"
    assert await doors.who("a.example.com", "/foo", {"x-arm": "b"}) == "three"
    assert await doors.who("a.example.com", "/foo", {"x-arm": "c"}) == "two"


async def test_the_older_of_two_routes_with_one_match_counts(doors: Doors) -> None:
    gateway(doors)
    route(doors, "younger-by-name-only", to("one"), hosts=("a.example.com",))
    await asyncio.sleep(1.1)  # the API's time has whole seconds
    route(doors, "a-later-one", to("two"), hosts=("a.example.com",))
    await doors.settled()
    assert await doors.who("a.example.com") == "one"


async def test_weights_divide_and_nothing_goes_to_a_weight_of_zero(doors: Doors) -> None:
    gateway(doors)
    weighted = [{"name": n, "port": 80, "weight": w} for n, w in (("one", 90), ("two", 10), ("three", 0))]
    route(doors, "divided", {"backendRefs": weighted}, hosts=("a.example.com",))
    await doors.settled()
    counted = await doors.counted("a.example.com", 500)
    assert counted.keys() == {"one", "two"}
    assert 20 <= counted["two"] <= 90


async def test_back_ends_that_are_none_answer_500_for_their_part_and_empty_ones_503(doors: Doors) -> None:
    gateway(doors)
    route(doors, "none", to("nobody"), hosts=("none.example.com",))
    route(doors, "no-rule", {"matches": at("/")}, hosts=("no-rule.example.com",))
    doors.create("Service", "empty", TEAM, spec={"ports": [{"name": "http", "port": 80}]})
    doors.slice_of("empty", TEAM, ["127.0.0.1:1"], ready=False)
    route(doors, "empty", to("empty"), hosts=("empty.example.com",))
    await doors.settled()
    for host, code in (("none", "500"), ("no-rule", "500"), ("empty", "503")):
        assert await doors.who(f"{host}.example.com") == code


async def test_another_namespaces_service_needs_a_grant(doors: Doors) -> None:
    gateway(doors)
    rule = {"backendRefs": [{"name": "one", "namespace": TEAM, "port": 80}]}
    route(doors, "across", rule, hosts=("a.example.com",), namespace=SYSTEM)
    await doors.settled()
    assert await doors.who("a.example.com") == "500"
    group = "gateway.networking.k8s.io"
    spec = {
        "from": [{"group": group, "kind": "HTTPRoute", "namespace": SYSTEM}],
        "to": [{"group": "", "kind": "Service", "name": "one"}],
    }
    doors.create("ReferenceGrant", "grant", TEAM, spec=spec)
    await doors.settled()
    assert await doors.who("a.example.com") == "one"
    doors.remove("ReferenceGrant", "grant", TEAM)
    await doors.settled()
    assert await doors.who("a.example.com") == "500"


async def test_listeners_choose_routes_by_name_namespace_label_and_hostname(doors: Doors) -> None:
    labelled = {"from": "Selector", "selector": {"matchLabels": {"tenant": "yes"}}}
    gateway(
        doors,
        {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": labelled}},
        {"name": "own", "port": 8080, "protocol": "HTTP", "allowedRoutes": {"namespaces": ANY},
         "hostname": "*.example.com"},
    )  # fmt: skip
    route(doors, "first", to("one"), hosts=("a.example.com", "a.other.org"), sectionName="http")
    route(doors, "second", to("two"), hosts=("a.example.com", "a.other.org"), sectionName="own")
    await doors.settled()
    own = doors.door(port=8080)
    assert await doors.who("a.example.com") == "404", "the namespace has no label"
    assert await doors.who("a.example.com", door=own) == "two"
    assert await doors.who("a.other.org", door=own) == "404", "the listener has no such host"
    namespace = doors.there.cluster.store.get(doors.there.cluster.kind("Namespace"), ("", TEAM))
    assert namespace is not None
    doors.plane.hand.change(namespace, {"metadata": {"labels": {"tenant": "yes"}}})
    await doors.settled()
    assert await doors.who("a.other.org") == "one"


async def test_filters_change_headers_and_paths_and_copy_requests(doors: Doors) -> None:
    gateway(doors)
    modify = {"set": [{"name": "x-set", "value": "100%"}], "add": [{"name": "x-more", "value": "b"}],
              "remove": ["x-gone"]}  # fmt: skip
    mirror = {"backendRef": {"name": "two", "port": 80}, "percent": 50}
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": modify},
        {"type": "RequestMirror", "requestMirror": mirror},
        {"type": "URLRewrite", "urlRewrite": rewrite},
    ]
    route(doors, "filtered", to("one", matches=at("/below/x"), filters=filters), hosts=("a.example.com",))
    await doors.settled()
    told = {"x-set": "0", "x-more": "a", "x-gone": "yes"}
    answer = (await doors.ask("a.example.com", "/below/x/v2/models?y=1", told)).json()
    assert answer["path"] == "/v2/models?y=1"
    headers = answer["headers"]
    assert (headers["x-set"], headers.get("x-gone")) == ("100%", None)
    for path in ("/below/x", "/below/x/"):
        assert (await doors.ask("a.example.com", path)).json()["path"] == "/"
    for _ in range(200):
        await doors.ask("a.example.com", "/below/x/copied")
    copies = [each for each in doors.upstreams["two"].seen if each.path == "/copied"]
    assert 60 <= len(copies) <= 140
    assert copies[0].headers["host"].startswith("a.example.com-shadow")


async def test_a_request_ends_with_its_time_and_without_one_never(doors: Doors) -> None:
    gateway(doors)
    route(doors, "timed", to("one", timeouts={"request": "300ms"}), hosts=("a.example.com",))
    route(doors, "patient", to("two"), hosts=("b.example.com",))
    await doors.settled()
    for name in ("one", "two"):
        doors.upstreams[name].gate = asyncio.Event()
    assert await doors.who("a.example.com") == "504"
    asking = asyncio.create_task(doors.who("b.example.com"))
    await asyncio.sleep(0.6)
    assert not asking.done()
    doors.upstreams["two"].gate.set()  # type: ignore[union-attr]
    assert await asking == "two"


async def test_what_is_changed_under_load_loses_no_request(doors: Doors) -> None:
    gateway(doors)
    route(doors, "moves", to("one"), hosts=("a.example.com",))
    await doors.settled()
    cluster, hand = doors.there.cluster, doors.plane.hand
    seen: Counter[str] = Counter()

    async def keep_asking() -> None:
        while True:
            seen.update(await doors.counted("a.example.com", 10))

    asking = asyncio.create_task(keep_asking())
    for number in range(9):
        name = ("two", "three", "one")[number % 3]
        found = cluster.store.get(cluster.kind("HTTPRoute"), (TEAM, "moves"))
        assert found is not None
        hand.change(found, {"spec": {"rules": [to(name)]}})
        await doors.settled()
        before = seen[name]
        async with asyncio.timeout(PATIENCE):
            while seen[name] < before + 30:
                assert not asking.done()
                await asyncio.sleep(0.01)
    asking.cancel()
    assert set(seen) == {"one", "two", "three"}, "and not `failed`"


async def test_a_controller_that_is_away_changes_nothing(doors: Doors) -> None:
    gateway(doors)
    route(doors, "stays", to("one"), hosts=("a.example.com",))
    await doors.settled()
    doors.plane.away = True
    doors.remove("HTTPRoute", "stays", TEAM)
    await asyncio.sleep(0.3)
    assert await doors.who("a.example.com") == "one"
    doors.plane.away = False
    await doors.settled()
    assert await doors.who("a.example.com") == "404"
