"""What routers prove themselves with, as the control plane keeps it in the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from modelyard.backends.kubernetes.client.config import Access
from modelyard.composing import keys, routers
from modelyard.composing.channel import SECRET, Channel, Installation
from modelyard.domain.certificate import Source
from modelyard.domain.errors import NotFound
from modelyard.gateway import authority
from modelyard.gateway.base import Certificate
from modelyard.gateway.remote import proof
from modelyard.gateway.remote.link import Router
from modelyard.gateway.remote.proof import Proof
from modelyard.installing import rendering, values
from tests.gateway.routers import shown
from tests.support.cluster.faults import Status
from tests.support.cluster.running import Running, running
from tests.support.patience import PATIENCE

SYSTEM = "modelyard-system"
_DAY = 86_400.0
_FILES = (proof.CERTIFICATE_FILE, proof.KEY_FILE, proof.AUTHORITY_FILE)


@dataclass(slots=True)
class Here:
    """A cluster, and how late it is."""

    there: Running
    client: Client
    now: float = field(default_factory=time.time)
    leads: bool = True

    def channel(self, *, master_key: bytes = b"k" * 32, look_seconds: float = 0.02) -> Channel:
        """As each start of a control plane makes one."""
        about = Installation(namespace=SYSTEM, master_key=master_key, token="the token")
        return Channel(
            self.client,
            about,
            clock=lambda: self.now,
            may_write=lambda: self.leads,
            look_seconds=look_seconds,
        )

    async def laid(self) -> dict[str, str]:
        """What routers have mounted."""
        found = await self.client.get(kinds.SECRET, SECRET, namespace=SYSTEM)
        return keys.plain(found["data"])

    def writes(self) -> int:
        """How often something was written."""
        return sum(each.startswith(("PATCH", "POST", "PUT")) for each in self.there.server.requests)


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    async with running() as there:
        client = Client(Access(server=there.url), clock=time.time)
        await client.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, manager="test"
        )
        yield Here(there, client)
        await client.close()


def _proof(laid: Mapping[str, str]) -> Proof:
    chain, key, believed = (laid[name] for name in _FILES)
    return Proof(shown=Certificate(chain=chain, key=key), believed=believed)


async def _talk(channel: Channel, laid: Mapping[str, str]) -> str:
    """Have a control plane call a router that has this; whom the router saw."""
    seen = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("peercert"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=proof.answering(_proof(laid)))
    port = server.sockets[0].getsockname()[1]
    async with server:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=channel.shown.tls, server_hostname=proof.ROUTER
        )
        found = await asyncio.wait_for(seen, PATIENCE)
        writer.close()
    return str(dict(found["subjectAltName"])["DNS"])


async def test_routers_have_the_token_and_a_certificate_and_nothing_that_makes_others(here: Here) -> None:
    channel = here.channel()
    await channel.lay()
    laid = await here.laid()
    assert laid.keys() == {"token", *_FILES}
    assert laid["token"] == "the token"
    issuer = proof.authority_of(b"k" * 32, now=here.now)
    assert issuer.key not in laid.values()
    assert authority.view(_proof(laid).shown, Source.SELF_MADE).hosts == (proof.ROUTER,)
    assert await _talk(channel, laid) == proof.PLATFORM


async def test_what_is_good_is_left_as_it_is_also_by_another_control_plane(here: Here) -> None:
    here.now -= 10 * _DAY
    await here.channel().lay()
    laid, writes = await here.laid(), here.writes()
    here.now += 10 * _DAY
    other = here.channel()
    await other.lay()
    assert (await here.laid(), here.writes()) == (laid, writes)
    assert await _talk(other, laid) == proof.PLATFORM


async def test_it_is_renewed_a_month_before_it_ends(here: Here) -> None:
    channel = here.channel()
    await channel.lay()
    before = await here.laid()
    here.now += 59 * _DAY
    await channel.lay()
    assert await here.laid() == before
    here.now += 2 * _DAY
    await channel.lay()
    after = await here.laid()
    assert after[proof.CERTIFICATE_FILE] != before[proof.CERTIFICATE_FILE]
    assert after["token"] == before["token"]
    # Routers that run believe whom they believed: it is the same authority.
    assert authority.same_authority(before[proof.AUTHORITY_FILE], after[proof.AUTHORITY_FILE])


@pytest.mark.parametrize(
    "spoilt",
    [
        {"token": "the token"},
        {"token": "the token", "tls.crt": "x", "tls.key": "y", "ca.crt": "z"},
        {"token": "another", "tls.crt": "", "tls.key": "", "ca.crt": ""},
    ],
    ids=["of an earlier release", "rubbish", "empty"],
)
async def test_what_others_make_of_it_is_put_right(here: Here, spoilt: dict[str, str]) -> None:
    channel = here.channel()
    await here.client.apply(keys.secret(SYSTEM, spoilt, name=SECRET))
    await channel.lay()
    laid = await here.laid()
    assert laid["token"] == "the token"
    assert await _talk(channel, laid) == proof.PLATFORM


async def test_a_certificate_of_another_installation_is_replaced(here: Here) -> None:
    await here.channel(master_key=b"o" * 32).lay()
    channel = here.channel()
    await channel.lay()
    assert await _talk(channel, await here.laid()) == proof.PLATFORM


async def test_routers_get_no_certificate_before_one_leads_who_can_talk_to_them(here: Here) -> None:
    here.leads = False
    earlier = {"token": "the token"}
    await here.client.apply(keys.secret(SYSTEM, earlier, name=SECRET))
    channel = here.channel()
    await channel.begin()
    keeping = asyncio.create_task(channel.keep())
    await asyncio.sleep(0.3)
    assert await here.laid() == earlier
    here.leads = True
    async with asyncio.timeout(PATIENCE):
        while await here.laid() == earlier:
            await asyncio.sleep(0.02)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert await _talk(channel, await here.laid()) == proof.PLATFORM


async def test_in_a_new_cluster_routers_can_start_before_anybody_leads(here: Here) -> None:
    here.leads = False
    channel = here.channel()
    await channel.begin()
    assert await _talk(channel, await here.laid()) == proof.PLATFORM
    writes = here.writes()
    await here.channel().begin()
    assert here.writes() == writes


async def test_who_leads_renews_by_itself_and_nobody_else_writes(here: Here) -> None:
    here.now, here.leads = time.time() - 80 * _DAY, False
    channel = here.channel()
    await channel.lay()
    before = await here.laid()
    keeping = asyncio.create_task(channel.keep())
    here.now = time.time()
    await asyncio.sleep(0.3)
    assert await here.laid() == before
    here.leads = True
    here.there.server.faults.add(Status(403), times=3, where=lambda method, path: path.endswith(SECRET))
    async with asyncio.timeout(PATIENCE):
        while here.there.server.faults.due or await here.laid() == before:
            await asyncio.sleep(0.05)
    # Its own is another one too: what it shows to a router now did not exist then.
    assert await _talk(channel, await here.laid()) == proof.PLATFORM
    assert channel._own.shown.chain != before[proof.CERTIFICATE_FILE]
    await here.client.delete(kinds.SECRET, SECRET, namespace=SYSTEM)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await here.laid()).keys() == {"token", *_FILES}
                break
            except NotFound:
                await asyncio.sleep(0.05)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_routers_are_spoken_to_as_their_pods_say_that_they_are(here: Here) -> None:
    manifests = rendering.manifests(values.of({}))
    deployment = next(
        each
        for each in manifests
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", "modelyard-router")
    )
    template = deployment["spec"]["template"]
    await _start(here, "fresh", "10.0.0.1", template)
    (container,) = template["spec"]["containers"]
    container["ports"] = [{"name": "face", "containerPort": 8079}]  # as before there was TLS
    await _start(here, "old", "fd00::2", template)
    gateway = routers.gateway(here.client, SYSTEM, shown=shown(), clock=time.time)
    assert set(await gateway._listed()) == {
        Router(name="fresh", address="10.0.0.1:8079"),
        Router(name="old", address="[fd00::2]:8079", plain=True),
    }


async def _start(here: Here, name: str, ip: str, template: Mapping[str, Any]) -> None:
    """A router's pod that runs."""
    head: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SYSTEM},
    }
    labels = template["metadata"]["labels"]
    spec = {k: v for k, v in template["spec"].items() if k != "priorityClassName"}
    pod = {**head, "metadata": {**head["metadata"], "labels": labels}, "spec": spec}
    await here.client.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "modelyard-router", "namespace": SYSTEM},
        }
    )
    await here.client.create(pod)
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
    await here.client.apply({**head, "status": status}, subresource="status")
