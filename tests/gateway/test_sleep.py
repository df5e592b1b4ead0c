"""Requests for services that sleep: held, and answered once somebody can."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import grpc
import grpc.aio
import httpx2
import pytest

from modelyard.domain.endpoint import Route, Waking
from modelyard.domain.limits import Limits
from modelyard.gateway.envoy import files
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import TOKEN, Upstream, route, share
from tests.support.patience import PATIENCE

NAME = "default/a"
URL = "/services/default/a/x"


def sleeper(
    *upstreams: Upstream,
    requests: int = 100,
    seconds: float = PATIENCE,
    public: bool = True,
    limits: Limits | None = None,
) -> Route:
    """A route whose requests are held while nobody is there."""
    one, limits = route(NAME, *upstreams, public=public), limits or Limits()
    waking = Waking(requests=requests, seconds=seconds)
    shares = tuple(replace(share, waking=waking, limits=limits) for share in one.shares)
    return replace(one, shares=shares, limits=limits)


async def held(gateway: EnvoyGateway, count: int) -> None:
    """Wait until so many requests are held, as the control plane hears of it."""
    while gateway.waiting.get(NAME, 0) != count:
        await asyncio.sleep(0.01)


@pytest.fixture
async def asleep(gateway: EnvoyGateway) -> EnvoyGateway:
    await gateway.publish([sleeper()])
    return gateway


async def test_requests_wait_until_somebody_answers(
    asleep: EnvoyGateway, client: httpx2.AsyncClient, upstream: StartUpstream
) -> None:
    body = os.urandom(5_000_000)
    small = [asyncio.create_task(client.post(URL, content=b"x" * n)) for n in range(20)]
    large = [asyncio.create_task(client.post(URL, content=body)) for _ in range(3)]
    assert await asleep.asked() == {NAME}
    await held(asleep, 23)
    await asleep.publish([sleeper(await upstream("one"))])
    answers = await asyncio.gather(*small, *large)
    assert [answer.status_code for answer in answers] == [200] * 23
    assert [answer.json()["size"] for answer in answers] == [*range(20), *[5_000_000] * 3]
    await held(asleep, 0)
    # Asleep again: the next one is held again.
    await asleep.publish([sleeper()])
    again = asyncio.create_task(client.get(URL))
    await held(asleep, 1)
    await asleep.publish([sleeper(await upstream("two"))])
    assert (await again).json()["replica"] == "two"


async def test_what_is_held_goes_to_the_revision_of_a_rollout_that_wakes_first(
    asleep: EnvoyGateway, client: httpx2.AsyncClient, upstream: StartUpstream
) -> None:
    waiting = asyncio.create_task(client.get(URL))
    await held(asleep, 1)
    newer = await upstream("newer")
    parts = (share(f"{NAME}#1", weight=0), share(f"{NAME}#2", newer), share(NAME, newer, weight=0))
    plain = sleeper()
    shares = tuple(replace(each, waking=plain.waking) for each in parts)
    await asleep.publish([replace(plain, shares=shares)])
    assert (await waiting).json()["replica"] == "newer"
    assert (await client.get(URL)).json()["replica"] == "newer"
    await held(asleep, 0)


async def test_who_wants_no_retries_is_held_all_the_same_and_by_what_may_be_in_progress(
    gateway: EnvoyGateway, client: httpx2.AsyncClient, upstream: StartUpstream
) -> None:
    limits = Limits(retries=0, concurrency=2)
    await gateway.publish([sleeper(limits=limits)])
    waiting = [asyncio.create_task(client.get(URL)) for _ in range(2)]
    await held(gateway, 2)
    assert (await client.get(URL)).status_code == 503
    await gateway.publish([sleeper(await upstream("one"), limits=limits)])
    assert [(await each).status_code for each in waiting] == [200, 200]


async def test_grpc_calls_wait_too(asleep: EnvoyGateway, place: Place, upstream: StartUpstream) -> None:
    replica = await upstream("one", lambda request: (200, {"content-type": "application/grpc"}, b""))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        waiting = asyncio.ensure_future(
            call(b"", metadata=(("x-modelyard-service", "a"),), timeout=20)  # type: ignore[arg-type]
        )
        await held(asleep, 1)
        await asleep.publish([sleeper(replica)])
        with pytest.raises(grpc.aio.AioRpcError):  # the replica says no status, which is its own mistake
            await waiting
        assert len(replica.seen) == 1


async def test_no_more_wait_than_may_and_none_too_long(
    asleep: EnvoyGateway, client: httpx2.AsyncClient, place: Place
) -> None:
    await asleep.publish([sleeper(requests=2, seconds=1.0)])
    waiting = [asyncio.create_task(client.get(URL)) for _ in range(2)]
    await held(asleep, 2)
    turned_away = await client.get(URL)
    assert turned_away.status_code == 503
    assert turned_away.headers["retry-after"] == "1"
    assert "as many requests wait" in turned_away.json()["error"]
    for late in await asyncio.gather(*waiting):
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert "did not wake in time" in late.json()["error"]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=(("x-modelyard-service", "a"),))  # type: ignore[arg-type]
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "did not wake in time" in refused.value.details()


async def test_what_is_too_large_to_wait_is_told_at_once_and_wakes(
    asleep: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(URL, content=bytes(17 * 1024 * 1024))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "too large to wait" in answer.json()["error"]
    assert await asleep.asked() == {NAME}


async def test_a_client_that_leaves_frees_its_place(asleep: EnvoyGateway, client: httpx2.AsyncClient) -> None:
    waiting = asyncio.create_task(client.get(URL))
    await held(asleep, 1)
    waiting.cancel()
    await held(asleep, 0)
    assert waiting.cancelled()


async def test_nobody_wakes_a_service_without_its_token(
    gateway: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([sleeper(public=False)])
    assert (await client.get(URL)).status_code == 401
    waiting = asyncio.create_task(client.get(URL, headers={"authorization": f"Bearer {TOKEN}"}))
    assert await gateway.asked() == {NAME}
    await held(gateway, 1)
    waiting.cancel()


async def test_the_activator_is_adopted_and_started_again(
    place: Place, client: httpx2.AsyncClient, upstream: StartUpstream
) -> None:
    try:
        first = place.gateway()
        assert await first.ensure() is None
        await first.publish([sleeper()])
        waiting = asyncio.create_task(client.get(URL))
        await held(first, 1)
        pid = (files.read(place.directory / "activator.json") or {})["pid"]
        # Another control plane takes over: those who wait go on waiting, and it hears of them.
        await first.close(stop=False)
        second = place.gateway()
        assert await second.ensure() is None
        await second.publish([sleeper()])
        assert await second.asked() == {NAME}
        assert (files.read(place.directory / "activator.json") or {})["pid"] == pid
        os.kill(pid, signal.SIGKILL)
        lost = await waiting
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        os.waitpid(pid, 0)
        meanwhile = asyncio.create_task(client.get(URL))
        await asyncio.sleep(0.05)
        assert await second.ensure() is None
        await held(second, 1)
        await second.publish([sleeper(await upstream("one"))])
        assert (await meanwhile).status_code == 200
    finally:
        await place.gateway().close(stop=True)
