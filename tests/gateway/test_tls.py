"""HTTPS at a real Envoy: trust, swaps under load, gRPC, and sending clients over."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from modelyard.domain.errors import Invalid
from modelyard.gateway import authority
from modelyard.gateway.base import Certificate
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import route
from tests.gateway.test_changes import steady_load
from tests.support.ports import free_port

NOW = time.time()
AUTHORITY = authority.make_authority("test", now=NOW)
RSA_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    .decode()
)
HOSTS = ("localhost", "*.service.localhost", "127.0.0.1")


def issued(*more: str) -> Certificate:
    return authority.issue(AUTHORITY, [*HOSTS, *more], now=NOW)


def rsa_signed(*hosts: str) -> Certificate:
    """What most other authorities issue: a certificate with an RSA key."""
    like = Certificate(chain="", key=RSA_KEY)
    return authority.issue(AUTHORITY, hosts, now=NOW, like=like)


FIRST = issued()


@dataclass(frozen=True)
class Secure:
    """A gateway with HTTPS, and how clients trust it."""

    gateway: EnvoyGateway
    url: str
    port: int

    def client(self, **more: object) -> httpx2.AsyncClient:
        trusting = ssl.create_default_context(cadata=AUTHORITY.chain)
        return httpx2.AsyncClient(base_url=self.url, trust_env=False, verify=trusting, **more)  # type: ignore[arg-type]

    async def shown(self, server_name: str = "localhost") -> bytes:
        """The certificate that a new connection gets."""
        context = ssl.create_default_context(cadata=AUTHORITY.chain)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=server_name
        )
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        return found


@pytest.fixture
async def secure(place: Place) -> AsyncIterator[Secure]:
    port = free_port()
    gateway = place.gateway(https_port=port)
    await gateway.present(FIRST, FIRST)
    assert await gateway.ensure() is None
    yield Secure(gateway, f"https://localhost:{port}", port)
    await gateway.close(stop=True)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "h2"])
async def test_the_same_answers_come_over_tls_in_both_protocols(
    place: Place, secure: Secure, upstream: StartUpstream, http2: bool
) -> None:
    await secure.gateway.publish([route("default/churn", await upstream("r1"))])
    async with secure.client(http2=http2) as client:
        answer = await client.get("/services/default/churn/x")
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        named = "churn.service.localhost"
        answer = await client.get("/x", headers={"host": named}, extensions={"sni_hostname": named})
        assert answer.json()["replica"] == "r1"
    async with place.client() as plain:
        assert (await plain.get("/services/default/churn/x")).status_code == 200


async def test_who_does_not_trust_the_authority_and_who_calls_another_name_is_not_connected(
    secure: Secure,
) -> None:
    async with httpx2.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(secure.url)
    with pytest.raises(ssl.SSLCertVerificationError):
        await secure.shown("churn.example.com")


async def test_certificates_are_swapped_under_load_without_a_lost_request(
    secure: Secure, upstream: StartUpstream
) -> None:
    await secure.gateway.publish([route("default/churn", await upstream("r1"))])
    async with (
        secure.client() as kept,
        secure.client(http2=True) as streams,
        steady_load(kept, per_second=100) as outcomes,
        steady_load(streams, per_second=100) as over_http2,
    ):
        seen = {await secure.shown()}
        for number in range(8):
            fresh_one = issued(f"churn-{number}.example.com")
            await secure.gateway.present(fresh_one, fresh_one)
            seen.add(await secure.shown(f"churn-{number}.example.com"))
            async with secure.client() as fresh:
                assert (await fresh.get("/services/default/churn/x")).status_code == 200
    assert len(seen) == 9
    assert set(outcomes) == set(over_http2) == {"200"}


async def test_clients_are_shown_the_certificate_that_names_the_host_they_call(secure: Secure) -> None:
    mine = authority.issue(AUTHORITY, ["ml.example.com"], now=NOW)
    await secure.gateway.present(mine, FIRST)
    by_name = {name: await secure.shown(name) for name in ("ml.example.com", "localhost")}
    assert by_name["localhost"] == await secure.shown("churn.service.localhost")
    assert by_name["localhost"] != by_name["ml.example.com"]


async def test_a_certificate_with_an_rsa_key_is_shown_although_ours_names_the_host_too(
    secure: Secure,
) -> None:
    like = rsa_signed("localhost")
    beside = authority.issue(AUTHORITY, HOSTS, now=NOW, like=like)
    await secure.gateway.present(like, beside)
    assert await secure.shown() == ssl.PEM_cert_to_DER_cert(like.chain)
    assert await secure.shown("churn.service.localhost") == ssl.PEM_cert_to_DER_cert(beside.chain)


async def test_grpc_goes_over_tls(secure: Secure, upstream: StartUpstream) -> None:
    await secure.gateway.publish([route("default/churn")])
    trust = grpc.ssl_channel_credentials(root_certificates=AUTHORITY.chain.encode())
    target = f"churn.service.localhost:{secure.port}"
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{secure.port}",
        trust,
        [("grpc.ssl_target_name_override", "churn.service.localhost"), ("grpc.default_authority", target)],
    ) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no replica of this service is ready" in (caught.value.details() or "")


async def test_a_door_that_redirects_sends_clients_over_with_method_and_body(place: Place) -> None:
    port = free_port()
    gateway = place.gateway(https_port=port, redirect=True)
    await gateway.present(FIRST, FIRST)
    assert await gateway.ensure() is None
    try:
        async with place.client() as client:
            answer = await client.post("/services/default/churn/x?q=1", content=b"{}")
            assert answer.status_code == 308
            assert answer.headers["location"] == f"https://127.0.0.1:{port}/services/default/churn/x?q=1"
            assert (await client.get("/readyz")).status_code == 503  # answered here; no control plane runs
    finally:
        await gateway.close(stop=True)


async def test_the_key_is_for_its_owner_alone_and_never_shown(place: Place, secure: Secure) -> None:
    assert (place.directory / "certificate.json").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(issued())


def test_a_chain_or_key_that_cannot_serve_is_refused_with_its_field() -> None:
    good, other = issued(), issued()
    authority.require_usable(good, now=NOW)
    authority.require_usable(Certificate(chain=good.chain + AUTHORITY.chain, key=good.key), now=NOW)
    for certificate, said in (
        (Certificate(chain=good.chain, key=other.key), "key: does not belong"),
        (Certificate(chain="nothing", key=good.key), "certificate: is no chain in PEM"),
        (Certificate(chain=good.key, key=good.key), "certificate: is no chain in PEM"),
        (Certificate(chain=good.chain, key="nothing"), "key: is no private key in PEM"),
        (Certificate(chain=good.chain, key=good.chain), "key: is no private key in PEM"),
        (Certificate(chain=good.chain + other.chain, key=good.key), "number 2 of the chain did not issue"),
        (Certificate(chain="x" * 300_000, key=good.key), "is longer than"),
    ):
        with pytest.raises(Invalid, match=said):
            authority.require_usable(certificate, now=NOW)
    with pytest.raises(Invalid, match="certificate: ended on"):
        authority.require_usable(good, now=NOW + 100 * 86_400)
    with pytest.raises(Invalid, match="certificate: begins only on"):
        authority.require_usable(good, now=NOW - 86_400)
