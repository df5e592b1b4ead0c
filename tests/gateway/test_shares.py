"""Shares of a route are served as they weigh, also while they change."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import httpx2

from modelyard.domain.endpoint import Pin, Route, Share
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import StartUpstream
from tests.gateway.support import route, share
from tests.gateway.test_changes import steady_load

_URL = "/services/default/churn/v2/models/churn/infer"


def shared(*shares: Share, pins: tuple[Pin, ...] = ()) -> Route:
    """The route `default/churn`, divided."""
    return dataclasses.replace(route("default/churn"), shares=shares, pins=pins)


async def test_revisions_change_places_under_load_without_one_error(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    old, new = await upstream("r1"), await upstream("r2")
    await gateway.publish([shared(share("default/churn#1", old))])
    async with steady_load(client, per_second=200) as outcomes:
        for weight in (0, 50, 100, 0, 100):
            first = share("default/churn#1", *([old] if weight < 100 else []), weight=100 - weight)
            second = share("default/churn#2", *([new] if weight else []), weight=weight)
            await gateway.publish([shared(first, second)])
            await asyncio.sleep(0.1)
    assert set(outcomes) == {"200"}
    assert await gateway.routed() == {"r2"}


async def test_without_a_ready_replica_in_any_share_the_answer_says_so(
    gateway: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([shared(*(share(f"default/churn#{n}", weight=0) for n in (1, 2)))])
    answer = await client.post(_URL, content=b"{}")
    assert answer.status_code == 503
    assert "no replica of this service is ready" in answer.json()["error"]


async def test_a_pinned_request_goes_to_its_share_by_header_and_by_cookie(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    shares = [share(f"default/churn#{n}", await upstream(f"r{n}"), weight=50) for n in (1, 2)]
    pins = (
        Pin(share="default/churn#2", header="x-arm", value="new"),
        Pin(share="default/churn#1", cookie="arm", value="old"),
    )
    await gateway.publish([shared(*shares, pins=pins)])
    seen: Counter[str] = Counter()
    for _ in range(20):
        seen["header", (await client.post(_URL, headers={"x-arm": "new"})).json()["replica"]] += 1
        seen["cookie", (await client.post(_URL, headers={"cookie": "a=b; arm=old"})).json()["replica"]] += 1
        seen[
            "none",
            (await client.post(_URL, headers={"x-arm": "newer", "cookie": "xarm=old"})).json()["replica"],
        ] += 1
    assert seen["header", "r2"] == seen["cookie", "r1"] == 20
    assert {seen["none", name] > 0 for name in ("r1", "r2")} == {True}
