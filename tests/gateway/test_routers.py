"""Several routers are one gateway, whatever happens to one of them."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import httpx2
import pytest

from modelyard.domain.endpoint import Route, Waking
from modelyard.domain.errors import Unavailable
from modelyard.domain.limits import Limits
from modelyard.gateway import authority
from modelyard.gateway.remote.copy import DirectoryCopy
from modelyard.gateway.remote.gateway import RemoteGateway
from tests.gateway.conftest import StartUpstream
from tests.gateway.routers import TOKEN, RouterProcess, Routers, shown
from tests.gateway.support import route
from tests.gateway.test_changes import steady_load
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

_PATH = "/services/default/churn/v2"


@pytest.fixture
async def two(routers: Routers) -> tuple[RouterProcess, RouterProcess]:
    return await routers.start(), await routers.start()


@pytest.fixture
def gateway(remote: RemoteGateway) -> RemoteGateway:
    return remote


async def _begin(gateway: RemoteGateway, routes: Sequence[Route], *routers: RouterProcess) -> None:
    """Publish the first routes to routers that may be starting, and wait until these all work by them."""
    with suppress(Unavailable):
        await gateway.publish(routes)
    for router in routers:
        await router.ready()
    while gateway.troubles:
        await asyncio.sleep(0.05)


async def _get(router: RouterProcess, path: str = _PATH) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=router.url, trust_env=False, timeout=20) as client:
        return await client.get(path)


async def test_every_router_works_by_what_is_published_and_one_that_comes_later_gets_it_at_once(
    routers: Routers,
    two: tuple[RouterProcess, RouterProcess],
    gateway: RemoteGateway,
    upstream: StartUpstream,
) -> None:
    churn = await upstream("r1")
    while await gateway.ensure() is not None:
        await asyncio.sleep(0.1)
    assert [await each.is_ready() for each in two] == [False, False]
    await _begin(gateway, [route("default/churn", churn)], *two)
    assert await gateway.routed() == {"r1"}
    third = await routers.start()
    await third.ready()
    answers = [await _get(each) for each in (*two, third)]
    assert [(a.status_code, a.json()["replica"]) for a in answers] == [(200, "r1")] * 3
    async with asyncio.timeout(PATIENCE):  # the platform looks for new ones once in a while
        while gateway.routers != ("router-1", "router-2", "router-3"):
            await asyncio.sleep(0.05)


async def test_one_that_cannot_be_reached_counts_with_what_it_had_until_it_is_gone(
    routers: Routers,
    two: tuple[RouterProcess, RouterProcess],
    gateway: RemoteGateway,
    upstream: StartUpstream,
) -> None:
    await _begin(gateway, [route("default/churn", await upstream("r1"))], *two)
    for each in two[1].family():
        each.suspend()
    async with asyncio.timeout(25):  # one that hangs must not hang everything
        await gateway.publish([route("default/churn", await upstream("r2"))])
        assert await gateway.routed() == {"r1", "r2"}
        await gateway.publish([route("default/churn", await upstream("r3"))])
        assert "r1" in await gateway.routed()
    assert await gateway.ensure() is None
    assert "router-2" in gateway.troubles
    for each in two[1].family():
        each.resume()
    while await gateway.routed() != {"r3"}:
        await asyncio.sleep(0.05)
    assert (await _get(two[1])).json()["replica"] == "r3"
    await two[1].kill()
    await routers.gone(two[1])
    while gateway.routers != ("router-1",):
        await asyncio.sleep(0.05)
    assert await gateway.routed() == {"r3"}


async def test_a_router_that_starts_while_the_control_plane_is_dead_serves_from_the_copy(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1"))])
    assert await gateway.routed() == {"r1"}  # so might one that starts now
    await gateway.close(stop=False)
    late = await routers.start()
    await late.ready()
    assert (await _get(late)).json()["replica"] == "r1"


async def test_one_that_starts_anew_on_its_disk_begins_with_what_it_had(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    first = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], first)
    await gateway.close(stop=False)
    shutil.rmtree(routers.root / "copy")
    await first.kill()
    again = await routers.start(host=first.host, directory=first.directory.name)
    await again.ready()
    assert (await _get(again)).json()["replica"] == "r1"


async def test_a_new_control_plane_knows_what_routers_that_it_cannot_reach_may_have(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    one = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    await gateway.close(stop=False)
    await one.kill()
    following = routers.gateway()
    assert await following.routed() == {"r1"}
    with pytest.raises(Unavailable, match="no router took the routes: router-1"):
        await following.publish([route("default/churn", await upstream("r2"))])
    assert await following.routed() == {"r1", "r2"}
    failure = await following.ensure()
    assert failure is not None
    assert "router-1: it does not answer at" in failure.message
    await following.close(stop=False)


async def test_a_router_is_replaced_under_load_without_a_failed_request(
    routers: Routers,
    two: tuple[RouterProcess, RouterProcess],
    gateway: RemoteGateway,
    upstream: StartUpstream,
) -> None:
    await _begin(gateway, [route("default/churn", await upstream("r1"))], *two)
    ready = list(two)
    outcomes: dict[int | str, int] = {}

    async def call(number: int) -> None:
        router = ready[number % len(ready)]
        try:
            answer = await clients[router.name].get(router.url + _PATH)
            outcomes[answer.status_code] = outcomes.get(answer.status_code, 0) + 1
        except httpx2.HTTPError as error:
            outcomes[repr(error)] = outcomes.get(repr(error), 0) + 1

    clients = {each.name: httpx2.AsyncClient(trust_env=False, timeout=20) for each in two}
    over, pending = asyncio.Event(), set()

    async def arrive() -> None:
        number = 0
        while not over.is_set():
            number += 1
            pending.add(asyncio.create_task(call(number)))
            await asyncio.sleep(0.01)

    arriving = asyncio.create_task(arrive())
    for leaving in two:
        fresh = await routers.start()
        clients[fresh.name] = httpx2.AsyncClient(trust_env=False, timeout=20)
        await fresh.ready()
        ready.append(fresh)
        ending = asyncio.create_task(leaving.terminate())
        while await leaving.is_ready():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # until whoever sends clients has seen it
        ready.remove(leaving)
        await gateway.publish([route("default/churn", await upstream(f"r{fresh.name}"))])
        assert await ending == 0
        await routers.gone(leaving)
    over.set()
    await arriving
    await asyncio.gather(*pending)
    for client in clients.values():
        await client.aclose()
    assert set(outcomes) == {200}
    assert outcomes[200] > 100


async def test_a_killed_router_costs_only_what_it_had_begun_and_the_others_go_on(
    routers: Routers,
    two: tuple[RouterProcess, RouterProcess],
    gateway: RemoteGateway,
    upstream: StartUpstream,
) -> None:
    current = await upstream("r0")
    await _begin(gateway, [route("default/churn", current)], *two)
    async with (
        httpx2.AsyncClient(base_url=two[0].url, trust_env=False, timeout=20) as client,
        steady_load(client, per_second=100) as outcomes,
    ):
        await two[1].kill()
        for number in range(1, 6):
            following = await upstream(f"r{number}")
            await gateway.publish([route("default/churn", following)])
            while following.name not in await gateway.routed():
                await asyncio.sleep(0.02)
            if number == 3:
                await routers.gone(two[1])
        while await gateway.routed() != {following.name}:
            await asyncio.sleep(0.02)
    assert set(outcomes) == {"200"}


async def test_numbers_of_all_routers_are_kept_apart_by_who_counted_and_none_falls_with_a_restart(
    routers: Routers,
    two: tuple[RouterProcess, RouterProcess],
    gateway: RemoteGateway,
    upstream: StartUpstream,
) -> None:
    await _begin(gateway, [route("default/churn", await upstream("r1"))], *two)
    for _ in range(4):
        assert [(await _get(each)).status_code for each in two] == [200, 200]

    async def counted() -> dict[str, int]:
        reading = await gateway.statistics()
        return {t.source: t.requests for t in reading.tallies} if reading else {}

    while sum((await counted()).values()) != 8:
        await asyncio.sleep(0.1)
    before = await counted()
    assert {source.partition(" ")[0] for source in before} == {"router-1", "router-2"}
    for each in two[1].family():
        if each.pid != two[1].process.pid:
            each.kill()
    while (await _get_safely(two[1])) != 200:
        await asyncio.sleep(0.05)
    while len(before.keys() | (await counted()).keys()) != 3:
        await asyncio.sleep(0.1)
    after = await counted()
    (fresh,) = after.keys() - before.keys()
    assert fresh.startswith("router-2 ")
    assert after[fresh] >= 1
    assert all(after[source] == before[source] for source in after if source in before)


async def _get_safely(router: RouterProcess) -> int:
    try:
        return (await _get(router)).status_code
    except httpx2.HTTPError:
        return 0


async def test_whoever_asks_for_a_sleeper_at_any_router_is_held_and_heard(
    two: tuple[RouterProcess, RouterProcess], gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    asleep = route("default/churn")
    share = replace(asleep.shares[0], waking=Waking(requests=10, seconds=15))
    await _begin(gateway, [replace(asleep, shares=(share,))], *two)
    held = [asyncio.create_task(_get(each)) for each in two]
    assert await asyncio.wait_for(gateway.asked(), PATIENCE) == {"default/churn"}
    while gateway.waiting != {"default/churn": 2}:
        await asyncio.wait_for(gateway.asked(), PATIENCE)
        await asyncio.sleep(0.05)
    awake = route("default/churn", await upstream("r1"))
    await gateway.publish([replace(awake, shares=(replace(awake.shares[0], waking=share.waking),))])
    assert [(await each).status_code for each in held] == [200, 200]
    while gateway.waiting:
        await asyncio.sleep(0.05)


async def test_a_rate_is_that_of_all_routers_together(
    two: tuple[RouterProcess, RouterProcess], gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    churn = replace(
        route("default/churn", await upstream("r1")), limits=Limits(requests_per_second=0.1, burst=10)
    )
    while len(gateway.routers) < 2:
        await gateway.ensure()
    await _begin(gateway, [churn], *two)
    answers = [(await _get(each)).status_code for _ in range(10) for each in two]
    assert answers.count(200) == 10
    assert answers.count(429) == 10


async def test_only_who_shows_the_token_is_told_anything(two: tuple[RouterProcess, RouterProcess]) -> None:
    await two[0].talks()
    async with two[0].caller() as client:
        for path in ("routed", "statistics", "copies", "news", "ports"):
            assert (await client.get(f"/v1/{path}")).status_code == 401
        assert (await client.put("/v1/routes", content=b"{}")).status_code == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        wrong = await client.put("/v1/routes", content=b'{"version": "x"}', headers=headers)
        assert wrong.status_code == 422
        assert "version" in wrong.json()["error"]
        assert "routes" in wrong.json()["error"]
        assert (await client.get("/v1/news", params={"after": "x"}, headers=headers)).status_code == 422
        assert (await client.get("/readyz", headers=headers)).status_code == 404
    health = f"http://{two[0].host}:{two[0].health_port}"
    async with httpx2.AsyncClient(base_url=health, trust_env=False, timeout=5) as client:
        assert (await client.get("/readyz")).json()["error"] == "it has no routes yet"
        assert (await client.get("/v1/news", headers=headers)).status_code == 404


async def test_the_control_plane_is_reached_by_a_name_and_the_routers_token_does_not_go_along(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    api = await upstream("api", tcp=True)
    routers.api = f"localhost:{api.address.rpartition(':')[2]}"
    one = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    async with httpx2.AsyncClient(base_url=one.url, trust_env=False, timeout=20) as client:
        for path in ("/", "/api/v1/projects"):
            answer = await client.get(path, headers={"authorization": "Bearer mine"})
            assert (answer.json()["replica"], answer.json()["path"]) == ("api", path)
            assert answer.json()["headers"]["authorization"] == "Bearer mine"
        await api.kill()
        away = await client.get("/api/v1/projects")
        assert away.status_code == 503
        assert "services go on answering" in away.json()["detail"]
        assert (await client.get(_PATH)).status_code == 200


async def test_certificates_come_with_the_routes_and_a_router_that_starts_later_has_them_from_the_copy(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    now = time.time()
    ca = authority.make_authority("test", now=now)
    front = authority.issue(ca, ["churn.service.localhost", "localhost"], now=now)
    secure = free_port()
    await gateway.present(front, front)
    one = await routers.start(https_port=secure)
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    await gateway.close(stop=False)
    late = await routers.start(https_port=secure)
    await late.ready()
    trusted = ssl.create_default_context(cadata=ca.chain)
    trusted.check_hostname = False
    for each in (one, late):
        async with httpx2.AsyncClient(verify=trusted, trust_env=False, timeout=20) as client:
            answer = await client.get(
                f"https://{each.host}:{secure}/v2", headers={"host": "churn.service.localhost"}
            )
            assert answer.json()["replica"] == "r1"


async def test_an_older_publication_is_refused_and_a_control_plane_whose_clock_is_behind_goes_beyond_it(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    one = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    await gateway.close(stop=False)
    shutil.rmtree(routers.root / "copy")  # so that the next one knows of no version
    behind = RemoteGateway(
        routers=routers.list, shown=shown(), copy=DirectoryCopy(routers.root / "copy"), clock=lambda: 5.0
    )
    await behind.publish([route("default/churn", await upstream("r2"))])
    while await behind.routed() != {"r2"}:
        await asyncio.sleep(0.05)
    assert (await _get(one)).json()["replica"] == "r2"
    async with one.caller() as client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        body = b'{"version": 1, "routes": []}'
        answer = await client.put("/v1/routes", content=body, headers=headers)
        assert answer.status_code == 409
        assert answer.json()["version"] > 1
    assert (await _get(one)).json()["replica"] == "r2"
    await behind.close(stop=False)


async def test_who_leads_no_more_forgets_its_wishes_and_does_not_answer_those_of_the_next(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    one = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    after = RemoteGateway(
        routers=routers.list, shown=shown(), copy=DirectoryCopy(routers.root / "copy"), clock=time.time
    )
    await gateway.close(stop=False)  # what a control plane does whose lead is lost
    await after.publish([route("default/churn", await upstream("r2"))])
    assert gateway.members() == {}
    await gateway.ensure()  # asked all the same, it only looks
    two = await routers.start()
    await two.ready()
    await asyncio.sleep(1.5)  # longer than both look for routers
    for each in (one, two):
        assert (await _get(each)).json()["replica"] == "r2"
    # Once it leads again it goes on from what there is.
    await after.close(stop=False)
    await gateway.publish([route("default/churn", await upstream("r3"))])
    for each in (one, two):
        assert (await _get(each)).json()["replica"] == "r3"


async def test_a_copy_that_cannot_be_kept_holds_the_replicas_that_it_names(
    routers: Routers, upstream: StartUpstream
) -> None:
    class Full(DirectoryCopy):
        full = False

        async def save(self, document: bytes, *, version: int) -> None:
            if self.full:
                raise Unavailable("the disk is full")
            await super().save(document, version=version)

    copy = Full(routers.root / "copy")
    gateway = RemoteGateway(routers=routers.list, shown=shown(), copy=copy, clock=time.time)
    one = await routers.start()
    await _begin(gateway, [route("default/churn", await upstream("r1"))], one)
    copy.full = True
    await gateway.publish([route("default/churn", await upstream("r2"))])
    assert (await _get(one)).json()["replica"] == "r2"
    assert await gateway.routed() == {"r1", "r2"}
    copy.full = False
    while await gateway.routed() != {"r2"}:
        await asyncio.sleep(0.05)
    await gateway.close(stop=False)


async def test_a_face_port_that_is_taken_is_said_in_words(
    routers: Routers, two: tuple[RouterProcess, RouterProcess]
) -> None:
    while not await _answers(two[0]):
        await asyncio.sleep(0.05)
    third = await routers.start(host=two[0].host)
    assert await third.process.wait() == 2
    said = (routers.root / "log3").read_text()
    assert "choose another --face-port" in said
    assert "Traceback" not in said


async def _answers(router: RouterProcess) -> bool:
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=2) as client:
            return (await client.get(f"http://{router.host}:{router.health_port}/livez")).status_code == 200
    except httpx2.HTTPError:
        return False
