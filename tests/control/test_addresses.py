"""Hosts that go from one service to another, ports that are given once, and names of projects."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from modelyard.backends.memory import Pace
from modelyard.control import applying, certificates, deployments, operations, projects
from modelyard.control.certificate_files import Keyring
from modelyard.control.platform import Tls
from modelyard.control.sites import Sites
from modelyard.domain.access import Role
from modelyard.domain.address import Address, Site
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.certificate import Source
from modelyard.domain.deployment import Deployment, DeploymentSpec, Failure, Key
from modelyard.domain.errors import Conflict, Invalid, NotFound, Unavailable
from modelyard.domain.naming import ModelRef
from modelyard.domain.ports import Range
from modelyard.domain.project import ProjectSpec
from modelyard.domain.tallies import Reading
from modelyard.domain.views import State
from modelyard.gateway import authority
from modelyard.gateway.base import Door
from modelyard.store import deployments as store
from modelyard.store import events, versions
from tests.control.world import ADMIN, CHURN, World, member, publish, running, version
from tests.support.virtual import clock, on_virtual_time

HOST = "churn.example.com"
SHARED = Address(host=HOST)
NEW = Key("default", "churn-new")
QUICK = Pace(start_seconds=0.5, stop_seconds=0.1)
FAILED = Failure(reason="LoadFailed", message="it cannot be read")


def hosted(world: World) -> set[str]:
    """Who is routed at the host that is fought for, as the gateway has it."""
    return {r.name for r in world.gateway.applied if r.hosted and r.addresses.host == HOST}


async def said(world: World, key: Key) -> dict[str, str]:
    async with world.database.read() as tx:
        found = await events.list(tx, project=key.project, kind="deployment", name=key.service, limit=100)
    return {event.reason: event.message for event in found}


async def offline(world: World, key: Key) -> Deployment:
    async def gone() -> bool:
        return not await world.backend.observe(key)

    await world.until(gone)
    return await world.deployment(key)


@on_virtual_time
async def test_a_new_service_takes_the_host_once_it_is_ready_and_the_old_one_goes_offline_and_back() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(address=SHARED, replicas=2)
        await world.until_running()
        owners: list[frozenset[str]] = []
        world.gateway.on_apply = lambda routes: owners.append(
            frozenset(t.replica for r in routes if r.hosted and r.addresses.host == HOST for t in r.targets)
        )
        wish = DeploymentSpec(model="churn@2", address=SHARED, replicas=2)
        foreseen = (await applying.plan(world.platform, ADMIN, NEW, wish)).traffic
        assert f"takes {HOST} from {CHURN}" in foreseen
        unchanged = replace(wish, model="churn@1", replicas=3)
        assert HOST not in (await applying.plan(world.platform, ADMIN, CHURN, unchanged)).traffic
        await world.deploy(key=NEW, model="churn@2", address=SHARED, replicas=2)
        await world.until_running(NEW)
        old = await offline(world, CHURN)
        assert hosted(world) == {str(NEW)}
        assert all(owners)
        assert old.claim.yielded_to == str(NEW)
        assert old.spec.replicas == 2
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert (view.state, view.message) == (State.OFFLINE, f"offline: {NEW} has taken its host over")
        assert "takes it back" in (await deployments.explain(world.platform, ADMIN, CHURN)).summary
        assert (await said(world, CHURN))["TakenOffline"] == f"{NEW} is ready and has taken {HOST} over"
        assert (await said(world, NEW))["HostTaken"] == f"{HOST} from {CHURN}"

        again = await world.deploy(address=SHARED, replicas=2)
        assert again.claim.yielded_to == str(NEW), "the same spec again changes nothing"
        await operations.restart(world.platform, ADMIN, CHURN)
        await world.until_running(CHURN)
        assert (await offline(world, NEW)).claim.yielded_to == str(CHURN)
        assert hosted(world) == {str(CHURN)}


@on_virtual_time
async def test_tokens_of_the_old_service_open_the_new_one_as_long_as_the_old_one_exists() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(address=SHARED)
        await world.until_running()
        old = next(r for r in world.gateway.applied if r.name == str(CHURN)).keys
        await world.deploy(key=NEW, address=SHARED)
        await world.until_running(NEW)
        await offline(world, CHURN)
        by_name = {r.name: r for r in world.gateway.applied}
        assert set(old) < set(by_name[str(NEW)].keys)
        assert not set(by_name[str(NEW)].keys) <= set(by_name[str(CHURN)].keys)


@on_virtual_time
async def test_a_new_service_that_fails_leaves_the_host_to_the_old_one_and_says_so() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(address=SHARED)
        await world.until_running()
        world.backend.load = lambda launch: FAILED if launch.key == NEW else None
        await world.deploy(key=NEW, address=SHARED)

        async def lapsed() -> bool:
            return bool((await world.deployment(NEW)).claim.lapsed)

        await world.until(lapsed, seconds=45)
        await asyncio.sleep(5)
        assert hosted(world) == {str(CHURN)}
        assert await world.ready(CHURN)
        assert f"{CHURN} keeps {HOST}" in (await said(world, NEW))["TakeoverFailed"]
        findings = (await deployments.explain(world.platform, ADMIN, NEW)).findings
        assert "HostKept" in {finding.reason for finding in findings}


@on_virtual_time
async def test_a_host_of_another_project_is_only_for_who_may_take_its_service_offline() -> None:
    async with running() as world:
        await projects.create(world.platform, ADMIN, "shop", ProjectSpec())
        await publish(world.database, "churn", 1, project="shop")
        await world.deploy(address=SHARED)
        theirs, spec = Key("shop", "fraud"), DeploymentSpec(model="churn@1", address=SHARED)
        with pytest.raises(Conflict, match="may not take offline"):
            await applying.apply(world.platform, member("dev", Role.DEVELOPER, "shop"), theirs, spec)
        await applying.apply(world.platform, ADMIN, theirs, spec)
        for host in ("localhost", "churn.service.localhost", "127.0.0.1", "x.other.service.localhost"):
            with pytest.raises(Invalid, match=r"spec\.address\.host"):
                await applying.apply(world.platform, ADMIN, theirs, replace(spec, address=Address(host=host)))


@on_virtual_time
async def test_a_copy_leaves_the_host_to_what_it_was_copied_from() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(address=replace(SHARED, own_port=True))
        await world.until_running()
        copied = await operations.copy(world.platform, ADMIN, CHURN, NEW.name)
        assert copied.spec.address == Address(own_port=True)
        await operations.scale(world.platform, ADMIN, NEW, 1)
        await world.until_running(NEW)
        await asyncio.sleep(5)
        assert hosted(world) == {str(CHURN)}
        assert not (await world.deployment()).claim.yielded_to


@on_virtual_time
async def test_who_sleeps_when_its_host_is_taken_is_not_woken_any_more() -> None:
    async with running(pace=QUICK) as world:
        sleeper = Autoscaling(min=0, max=2, on="concurrency:8", idle_seconds=30)
        await world.deploy(address=SHARED, autoscaling=sleeper)
        await world.until_running()
        await offline(world, CHURN)
        await world.deploy(key=NEW, address=SHARED)
        await world.until_running(NEW)
        await asyncio.sleep(3)
        assert (await world.deployment()).claim.yielded_to == str(NEW)
        assert {r.name: r.waking for r in world.gateway.applied} == {str(CHURN): None, str(NEW): None}


@on_virtual_time
async def test_routers_that_do_not_answer_hold_no_change_up_for_long() -> None:
    async with running(pace=QUICK, port_range=Range(base=30_000, count=30)) as world:

        async def never() -> frozenset[int]:
            await asyncio.sleep(1000)
            return frozenset()

        world.gateway.busy_ports = never  # type: ignore[method-assign]
        began = clock()
        with pytest.raises(Unavailable, match="which ports are free was not known"):
            await world.deploy(address=Address(own_port=True))
        assert clock() - began < 5
        with pytest.raises(NotFound):
            await deployments.get(world.platform, ADMIN, CHURN)
        await world.deploy()


@on_virtual_time
async def test_ports_are_given_once_kept_over_updates_and_free_again_after_deletion() -> None:
    async with running(pace=QUICK, port_range=Range(base=30_000, count=30)) as world:
        world.gateway.busy = frozenset({30_000})
        both = Address(own_port=True, second_port=True)
        first = await world.deploy(address=Address(own_port=True))
        [port] = first.ports
        assert port == 30_010
        second = await world.deploy(address=both)
        assert second.ports == (port, port + 1)
        await world.until_running()
        assert next(r for r in world.gateway.applied).ports == (port, port + 1)
        assert (await world.deploy(model="churn@2", address=both)).ports == second.ports
        without = await world.deploy(model="churn@2")
        assert without.ports == second.ports
        copied = await operations.copy(world.platform, ADMIN, CHURN, "churn-new")
        assert copied.addresses.ports == ()
        assert (await world.deploy(key=NEW, address=both)).ports == (30_020, 30_021)
        view = await deployments.get(world.platform, ADMIN, NEW)
        assert view.addresses.port_urls == ("http://127.0.0.1:30020", "http://127.0.0.1:30021")
        await operations.delete(world.platform, ADMIN, CHURN)

        async def forgotten() -> bool:
            async with world.database.read() as tx:
                return await store.get(tx, CHURN) is None

        await world.until(forgotten)
        assert (await world.deploy(key=Key("default", "third"), address=both)).ports == second.ports


@on_virtual_time
async def test_when_no_port_is_left_nothing_is_deployed() -> None:
    async with running(port_range=Range(base=30_000, count=1)) as world:
        await world.deploy(address=Address(own_port=True))
        with pytest.raises(Conflict, match=r"gateway\.port_count"):
            await world.deploy(key=NEW, address=Address(own_port=True))
        with pytest.raises(NotFound):
            await deployments.get(world.platform, ADMIN, NEW)


@on_virtual_time
async def test_a_port_that_a_stranger_holds_is_said_of_its_service_until_it_opens() -> None:
    async with running(pace=QUICK) as world:
        [port] = (await world.deploy(address=Address(own_port=True))).ports
        world.gateway.busy = frozenset({port})

        async def conditions() -> dict[str, str]:
            return {c.type: c.reason for c in (await world.deployment()).status.conditions}

        async def named() -> bool:
            return (await conditions()).get("Addressed") == "OwnPortInUse"

        async def opened() -> bool:
            return "Addressed" not in await conditions()

        await world.until(named)
        assert (await deployments.explain(world.platform, ADMIN, CHURN)).findings
        world.gateway.busy = frozenset()
        await world.until(opened, seconds=120)


@on_virtual_time
async def test_a_projects_domain_and_address_win_and_its_services_move_at_once() -> None:
    async with running(pace=QUICK) as world:
        world.platform.sites.installation = Site(domain="localhost", external_ip="10.0.0.1|203.0.113.9")
        await world.deploy(address=Address(own_port=True, host="/docs"))
        await world.until_running()
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert view.addresses.hosts_line == "203.0.113.9 churn.service.localhost"
        assert view.addresses.link == "http://churn.service.localhost:8080/docs"
        spec = ProjectSpec(domain="team.example", external_ip="198.51.100.4")
        await projects.apply(world.platform, ADMIN, "default", spec)

        async def moved() -> bool:
            return any(r.addresses.host == "churn.service.team.example" for r in world.gateway.applied)

        await world.until(moved)
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert view.addresses.host == "churn.service.team.example"
        assert view.addresses.hosts_line == "198.51.100.4 churn.service.team.example"
        assert view.addresses.port_urls[0].startswith("http://198.51.100.4:")


@on_virtual_time
async def test_a_service_without_a_name_is_called_after_its_versions_digits_and_clashes_are_explained() -> (
    None
):
    async with running() as world:
        async with world.database.begin() as tx:
            for number, label in (("7", "v1.11"), ("8", "v11.1")):
                await versions.insert(tx, version("default", "churn", number, label=label))

        async def made(selector: str, **more: Any) -> str:
            ref = ModelRef("churn", selector)
            return (await applying.publish_service(world.platform, ADMIN, "default", ref, **more)).name

        assert await made("v1.11") == "churn-111"
        with pytest.raises(Conflict, match="only a version's digits count; give a name yourself"):
            await made("v11.1")
        with pytest.raises(Conflict, match="already exists; deploy to it"):
            await made("v1.11")
        assert await made("v11.1", name="churn-b") == "churn-b"


@on_virtual_time
async def test_certificates_are_made_renewed_and_replaced_and_name_every_host(tmp_path: Any) -> None:
    async with running(pace=QUICK) as world:
        tls = Tls(directory=tmp_path / "tls", name="box", hosts=("localhost", "*.service.localhost"))
        platform = replace(world.platform, tls=tls, door=Door(https_port=8443), sites=Sites())
        first = await certificates.refresh(platform)
        shown = world.gateway.presented
        assert (await certificates.refresh(platform)).sha256 == first.sha256
        assert world.gateway.presented == shown
        await world.deploy(address=SHARED)
        assert HOST in (await certificates.refresh(platform)).hosts
        assert {p.stat().st_mode & 0o777 for p in (tmp_path / "tls").iterdir()} == {0o600}
        now = clock()
        issuer = Keyring(tls.directory, "box").authority(now=now)
        later = replace(platform, clock=lambda: now + 65 * 86_400)
        renewed = await certificates.refresh(later)
        assert renewed.not_after > first.not_after
        assert await certificates.trusted(later) == issuer.chain
        mine = authority.issue(issuer, ["churn.example.com"], now=now)
        given = await certificates.upload(platform, ADMIN, mine)
        assert (given.source, world.gateway.presented) == (Source.UPLOADED, mine)
        assert any("*.service.localhost" in warning for warning in given.warnings)
        assert "*.service.localhost" in authority.view(world.gateway.beside, Source.SELF_MADE).hosts
        near = replace(platform, clock=lambda: now + 80 * 86_400)
        assert any("ends in 10 days" in w for w in (await certificates.refresh(near)).warnings)
        with pytest.raises(Invalid, match="key: does not belong"):
            await certificates.upload(platform, ADMIN, replace(mine, key=issuer.key))
        assert (await certificates.remove(platform, ADMIN)).source is Source.SELF_MADE
        chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
        chain.write_text(mine.chain)
        key.write_text(mine.key)
        named = replace(platform, tls=replace(tls, certificate=str(chain), key=str(key)))
        assert (await certificates.refresh(named)).source is Source.SETTINGS
        with pytest.raises(Conflict, match="the settings name"):
            await certificates.upload(named, ADMIN, mine)
        key.write_text("half written")
        with pytest.raises(Invalid, match="no private key"):
            await certificates.refresh(named)
        assert world.gateway.presented == mine
    with pytest.raises(NotFound, match="--https-port"):
        await certificates.show(world.platform, ADMIN)


@on_virtual_time
async def test_nobody_waits_for_a_sleeping_service_whose_host_was_taken() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(
            address=SHARED, autoscaling=Autoscaling(min=0, max=1, idle_seconds=30, down_seconds=10)
        )
        await world.until_running()
        world.gateway.counted = Reading(epoch="1")
        await asyncio.sleep(60)
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.ASLEEP
        await world.deploy(key=NEW, address=SHARED)
        await world.until_running(NEW)
        await asyncio.sleep(3)
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.OFFLINE
        [old] = [route for route in world.gateway.applied if route.name == str(CHURN)]
        assert old.waking is None
