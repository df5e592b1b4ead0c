"""Whom a project lets in past the gateway: who may say so, whom they may name, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from modelyard.backends.memory import MemoryBackend
from modelyard.control import projects, reach
from modelyard.domain.access import Role
from modelyard.domain.errors import Forbidden, Invalid
from modelyard.domain.network import Network
from modelyard.domain.project import ProjectSpec
from modelyard.domain.quota import Quota
from modelyard.store import events
from tests.control.world import ADMIN, World, member, running
from tests.support.patience import PATIENCE
from tests.support.virtual import on_virtual_time

ALONE = ProjectSpec(network=Network(isolated=True))


async def until(good: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not good():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def letting_in(*names: str) -> ProjectSpec:
    return ProjectSpec(network=Network(isolated=True, allow_projects=names))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Network]:
    """What the backend was told last of each project."""
    found: dict[str, Network] = {}

    async def settle(self: MemoryBackend, project: str, quota: Quota, network: Network) -> None:
        found[project] = network

    monkeypatch.setattr(MemoryBackend, "settle", settle)
    return found


async def said(world: World) -> list[str]:
    async with world.database.read() as tx:
        found = await events.list(tx, kind="project", newest_first=False)
    return [each.message for each in found if each.reason == "Changed"]


@on_virtual_time
async def test_an_owner_isolates_and_the_backend_hears_of_it(told: dict[str, Network]) -> None:
    async with running() as world:
        owner = member("ana", Role.OWNER)
        assert not (await reach.of(world.platform, owner, "default")).isolated
        await projects.apply(world.platform, owner, "default", ALONE)
        await until(lambda: told.get("default") == ALONE.network, "the backend was told")
        await projects.create(world.platform, ADMIN, "b", ProjectSpec())
        await projects.apply(world.platform, ADMIN, "default", letting_in("b"))
        found = await reach.of(world.platform, owner, "default")
        assert (found.isolated, found.allow_projects) == (True, ("b",))
        assert found.enforcement == "not enforced", "records keep nobody away"
        await projects.apply(world.platform, owner, "default", ProjectSpec())
        await until(lambda: told["default"] == Network(), "the backend was told that it is open again")
        assert await said(world) == [
            "trust scan; network isolated",
            "trust scan; network isolated, but for project b",
            "trust scan; network open",
        ]


@on_virtual_time
async def test_only_owners_change_it() -> None:
    async with running() as world:
        for role in (Role.VIEWER, Role.OPERATOR, Role.DEVELOPER):
            with pytest.raises(Forbidden):
                await projects.apply(world.platform, member("ana", role), "default", ALONE)


@on_virtual_time
async def test_itself_and_what_is_not_there_are_refused_by_field() -> None:
    async with running() as world:
        for name, words in (("default", "is the project itself"), ("nobody", "you see no project 'nobody'")):
            with pytest.raises(Invalid, match=words) as refused:
                await projects.apply(world.platform, ADMIN, "default", letting_in(name))
            assert [each.path for each in refused.value.errors] == ["spec.network.allow_projects[0]"]
        with pytest.raises(Invalid, match="is the project itself"):
            await projects.create(world.platform, ADMIN, "fresh", letting_in("fresh"))
        with pytest.raises(Invalid, match="you see no project"):
            await projects.create(world.platform, ADMIN, "fresh", letting_in("nobody"))


@on_virtual_time
async def test_nobody_finds_out_by_it_which_projects_there_are() -> None:
    async with running() as world:
        await projects.create(world.platform, ADMIN, "hidden", ProjectSpec())
        owner = member("ana", Role.OWNER)
        answers = set()
        for name in ("hidden", "nobody"):
            with pytest.raises(Invalid) as refused:
                await projects.apply(world.platform, owner, "default", letting_in(name))
            answers.add(refused.value.message.replace(name, "X"))
        assert len(answers) == 1
        both = replace(owner, roles={**owner.roles, "hidden": Role.VIEWER})
        await projects.apply(world.platform, both, "default", letting_in("hidden"))
        # What somebody else let in stays, whoever changes the rest.
        again = replace(letting_in("hidden"), description="x")
        assert (await projects.apply(world.platform, owner, "default", again)).spec == again


@on_virtual_time
async def test_a_project_that_is_deleted_is_let_in_no_more(told: dict[str, Network]) -> None:
    async with running() as world:
        for name in ("b", "c"):
            await projects.create(world.platform, ADMIN, name, ProjectSpec())
        await projects.apply(world.platform, ADMIN, "default", letting_in("b", "c"))
        await until(lambda: told.get("default") == letting_in("b", "c").network, "the backend was told")
        await projects.delete(world.platform, ADMIN, "b")
        await until(lambda: told["default"] == letting_in("c").network, "it is let in no more")
        assert (await projects.get(world.platform, ADMIN, "default")).spec == letting_in("c")
        assert (await said(world))[-1] == "network: project b is deleted, and let in no more"
        await until(lambda: told["b"] == Network(), "nothing is kept of the one that is gone")


@on_virtual_time
async def test_the_gateway_hears_which_services_are_kept_apart() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        assert [(each.name, each.isolated) for each in world.gateway.published] == [("default/churn", False)]
        await projects.apply(world.platform, ADMIN, "default", ALONE)
        await until(lambda: world.gateway.published[0].isolated, "the route says so")
        await projects.apply(world.platform, ADMIN, "default", ProjectSpec())
        await until(lambda: not world.gateway.published[0].isolated, "the route says that it is open")
