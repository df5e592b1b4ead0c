"""Control plane and routers talk only to whom they know, whatever happens to certificates."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress

import httpx2
import pytest
import uvicorn
from cryptography import x509

from modelyard.domain.errors import Unavailable
from modelyard.gateway import authority
from modelyard.gateway.authority import Purpose
from modelyard.gateway.base import Certificate
from modelyard.gateway.remote import proof
from modelyard.gateway.remote.copy import DirectoryCopy
from modelyard.gateway.remote.gateway import RemoteGateway
from modelyard.gateway.remote.link import Router
from modelyard.gateway.remote.proof import Proof
from modelyard.router import face, options, running
from tests.gateway.conftest import StartUpstream
from tests.gateway.routers import TOKEN, RouterProcess, Routers, issuer, lay, of_router, shown
from tests.gateway.support import route
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

_OTHERS = b"what another installation knows"
_LONG_AGO = 100 * 86_400
_SHOWN = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def gateway(remote: RemoteGateway) -> RemoteGateway:
    return remote


async def _published(gateway: RemoteGateway, replica: str, upstream: StartUpstream) -> None:
    """Publish, and wait until every router works by it."""
    with suppress(Unavailable):
        await gateway.publish([route("default/churn", await upstream(replica))])
    async with asyncio.timeout(PATIENCE):
        while gateway.troubles or await gateway.routed() != {replica}:
            await asyncio.sleep(0.05)


async def _trouble(gateway: RemoteGateway, words: str) -> None:
    """Wait until that is what is wrong with the only router."""
    async with asyncio.timeout(PATIENCE):
        while words not in "".join(gateway.troubles.values()):
            await gateway.ensure()
            await asyncio.sleep(0.05)


async def _serial_number(router: RouterProcess) -> int:
    """Of the certificate that it shows to a new connection."""
    tls = proof.calling(proof.of_platform(issuer(), now=time.time()))
    _, writer = await asyncio.open_connection(
        router.host, router.face_port, ssl=tls, server_hostname=proof.ROUTER
    )
    said = writer.get_extra_info("peercert")
    writer.close()
    return int(said["serialNumber"], 16)


def _number(laid: Proof) -> int:
    return x509.load_pem_x509_certificate(laid.shown.chain.encode()).serial_number


@pytest.mark.parametrize(
    ("laid", "why"),
    [
        (
            Proof(shown=of_router(secret=_OTHERS).shown, believed=issuer().chain),
            "does not prove that it is a router of this platform",
        ),
        (of_router(now=time.time() - _LONG_AGO), "certificate has expired"),
        (
            Proof(
                shown=authority.issue(issuer(), ["control-plane.modelyard.internal"], now=time.time()),
                believed=issuer().chain,
            ),
            "Hostname mismatch",
        ),
        (
            Proof(
                shown=authority.issue(issuer(), [proof.ROUTER], now=time.time(), purpose=Purpose.CALL),
                believed=issuer().chain,
            ),
            "does not prove that it is a router of this platform",
        ),
    ],
    ids=["of another authority", "expired", "of another name", "good for something else"],
)
async def test_a_router_that_cannot_prove_itself_is_told_nothing_and_is_well_once_it_can(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream, laid: Proof, why: str
) -> None:
    lay(routers.certificates, laid)
    one = await routers.start(settle_seconds=60)
    await _trouble(gateway, why)
    with pytest.raises(Unavailable, match="no router took the routes"):
        await gateway.publish([route("default/churn", await upstream("r1"))])
    assert not (one.directory / "published.json").exists()
    lay(routers.certificates, of_router())
    await _published(gateway, "r2", upstream)
    await one.ready()


@pytest.mark.parametrize(
    "certificate",
    [
        proof.of_platform(issuer(_OTHERS), now=time.time()).shown,
        proof.of_platform(issuer(), now=time.time() - _LONG_AGO).shown,
        of_router().shown,
        None,
    ],
    ids=["of another authority", "expired", "a router's", "none"],
)
async def test_a_router_lets_nobody_in_by_the_token_alone(
    routers: Routers, certificate: Certificate | None
) -> None:
    one = await routers.start()
    await one.talks()
    tls = ssl.create_default_context(cadata=issuer().chain)
    if certificate is not None:
        proof.show(tls, certificate)
    async with one.caller(tls) as client:
        with pytest.raises(httpx2.HTTPError):
            await client.get("/v1/news", headers=_SHOWN)
    async with one.caller() as client:
        assert (await client.get("/v1/news", headers=_SHOWN)).status_code == 200


async def test_a_router_does_not_talk_without_tls(routers: Routers) -> None:
    one = await routers.start()
    await one.talks()
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        with pytest.raises(httpx2.HTTPError):
            await client.get(f"http://{one.host}:{one.face_port}/v1/news", headers=_SHOWN)


async def test_certificates_change_while_publications_go_on_and_none_is_lost(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    two = [await routers.start(), await routers.start()]
    await _published(gateway, "r0", upstream)
    before = [await _serial_number(each) for each in two]
    over, published = asyncio.Event(), 0
    troubles: set[str] = set()
    replicas = [await upstream("r1"), await upstream("r2")]

    async def publish() -> None:
        nonlocal published
        while not over.is_set():
            await gateway.publish([route("default/churn", replicas[published % 2])])
            published += 1
            troubles.update(gateway.troubles.values())
            assert replicas[(published - 1) % 2].name in await gateway.routed()

    publishing = asyncio.create_task(publish())
    for _ in range(3):
        laid = of_router()
        lay(routers.certificates, laid)
        async with asyncio.timeout(PATIENCE):
            while {await _serial_number(each) for each in two} != {_number(laid)}:
                await asyncio.sleep(0.1)
    # One that comes now is shown the new one, and those that were there go on being told.
    third = await routers.start()
    await third.ready()
    over.set()
    await publishing
    assert _number(laid) not in before
    assert published > 3
    assert {each for each in troubles if "did not answer yet" not in each} <= {
        f"it does not answer at {third.host}:{third.face_port}"
    }
    await _published(gateway, "r3", upstream)


async def test_a_router_is_not_ready_before_it_can_be_told_anything(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1"))])  # so there is a copy to begin with
    routers.certificates.mkdir()
    one = await routers.start()
    health = f"http://{one.host}:{one.health_port}/readyz"
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client, asyncio.timeout(PATIENCE):
        said = ""
        while "certificate is not there yet" not in said:
            with suppress(httpx2.HTTPError):
                said = (await client.get(health)).json().get("error", "")
            await asyncio.sleep(0.05)
        assert "tls.crt cannot be read: No such file" in said
    lay(routers.certificates, of_router())
    await one.ready()
    await _published(gateway, "r2", upstream)


async def test_one_that_waits_for_its_certificate_ends_when_it_is_told_to(routers: Routers) -> None:
    routers.certificates.mkdir()
    one = await routers.start()
    while not await _lives(one):
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(one.terminate(), PATIENCE) == 0


async def test_a_certificate_that_is_none_changes_nothing(
    routers: Routers, gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    one = await routers.start()
    await _published(gateway, "r1", upstream)
    before = await _serial_number(one)
    good, other = of_router(), of_router()
    spoilt = (
        Proof(shown=Certificate(chain="nothing", key=good.shown.key), believed=good.believed),
        Proof(shown=Certificate(chain=good.shown.chain, key=other.shown.key), believed=good.believed),
        Proof(shown=good.shown, believed="nothing"),
        of_router(secret=_OTHERS),
    )
    for laid in spoilt:
        lay(routers.certificates, laid)
        seen = (routers.root / "log1").read_text().count("is not taken")
        async with asyncio.timeout(PATIENCE):
            while (routers.root / "log1").read_text().count("is not taken") == seen:
                await asyncio.sleep(0.1)
        assert await _serial_number(one) == before
    await _published(gateway, "r2", upstream)


async def test_a_router_of_an_earlier_release_is_told_what_it_should_know_until_it_is_replaced(
    routers: Routers, upstream: StartUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Its face was the same, without TLS."""
    port, api = free_port(), "127.0.0.1:1"
    chosen = {"host": "127.0.0.1", "port": str(routers.port), "face_port": str(port), "api": api}
    station = running.build(options.parse({**chosen, "directory": str(routers.root / "old")}, {}))
    server = uvicorn.Server(
        uvicorn.Config(face.create(station, TOKEN), port=port, log_config=None, lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    caring = asyncio.create_task(station.look_after())
    old = [Router(name="old", address=f"127.0.0.1:{port}", plain=True)]

    async def listed() -> list[Router]:
        return [*old, *await routers.list()]

    copy = DirectoryCopy(routers.root / "copy")
    gateway = RemoteGateway(routers=listed, shown=shown(), copy=copy, clock=time.time)
    try:
        await _published(gateway, "r1", upstream)
        assert "without TLS" in caplog.text
        await routers.start()
        await _published(gateway, "r2", upstream)
        assert gateway.routers == ("old", "router-1")
        assert station.version
        old.clear()
        await _published(gateway, "r3", upstream)
        assert "old" not in gateway.routers
    finally:
        await gateway.close(stop=False)
        caring.cancel()
        server.should_exit = True
        await asyncio.gather(serving, caring, return_exceptions=True)
        await station.gateway.close(stop=True)


async def _lives(router: RouterProcess) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=2) as client:
        with suppress(httpx2.HTTPError):
            answer = await client.get(f"http://{router.host}:{router.health_port}/livez")
            return answer.status_code == 200
    return False
