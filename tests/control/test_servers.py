"""Other servers through the verbs: without a model, generated, and who may ask for what of them."""

from __future__ import annotations

import pytest

from modelyard.control import applying, deployments, operations, projects, shells
from modelyard.domain import mounts
from modelyard.domain.access import Role
from modelyard.domain.deployment import DeploymentSpec, Key, Resources
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from modelyard.domain.health import Health, Probe
from modelyard.domain.project import ProjectSpec, Trust
from modelyard.domain.server import Server, ServerKind
from modelyard.store import events
from tests.control.world import ADMIN, CHURN, World, member, running
from tests.support.virtual import on_virtual_time

WEB = Key("default", "web")
DEV = member("dev", Role.DEVELOPER)
OPS = member("ops", Role.OPERATOR)
ANY = DeploymentSpec(server=Server(kind=ServerKind.SERVING, command="serve", ports=(80, 81)))


async def trust(world: World) -> None:
    await projects.apply(world.platform, ADMIN, "default", ProjectSpec(trust=Trust.FULL))


@on_virtual_time
async def test_a_server_without_a_model_rolls_out_scales_and_rolls_back() -> None:
    async with running() as world:
        await applying.apply(world.platform, ADMIN, WEB, ANY)
        first = await world.until_running(WEB)
        assert first.status.replicas[0].second_address
        assert (await deployments.explain(world.platform, ADMIN, WEB)).healthy
        await world.deploy(key=WEB, model="", server=Server(kind=ServerKind.SERVING, command="other"))
        assert (await world.until_running(WEB)).revision == 2
        said = (await deployments.server(world.platform, ADMIN, WEB)).command
        assert said == "other"


@on_virtual_time
async def test_a_known_server_is_made_of_the_model_and_needs_no_runtime_of_its_own() -> None:
    async with running() as world:
        deployed = await world.deploy(server=Server(kind=ServerKind.TRITON, image="own/triton:1"))
        assert deployed.spec.model == "churn@1"
        assert deployed.status.warnings == ()
        shown = await deployments.server(world.platform, ADMIN, CHURN)
        assert shown.image == "own/triton:1"
        assert 'name: "churn"' in shown.files["config.pbtxt"]
        assert (await world.until_running()).status.replicas[0].second_address


@on_virtual_time
async def test_volumes_of_a_cluster_are_refused_where_there_is_none() -> None:
    async with running(start=False) as world:
        spec = DeploymentSpec(model="churn@1", model_files="pvc://models/churn")
        for verb in (applying.apply, applying.preview):
            with pytest.raises(Invalid, match="pvc://models/churn is a volume of a cluster") as refused:
                await verb(world.platform, ADMIN, CHURN, spec)  # type: ignore[operator]
            assert [each.path for each in refused.value.errors] == ["spec.model_files"]


async def test_how_a_part_of_a_card_is_given_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(start=False) as world:
        said = "`0.2(A100)` is given out by MIG as 2g.10gb"
        monkeypatch.setattr(world.platform.backend, "refuses_gpus", lambda wanted: "")
        monkeypatch.setattr(
            world.platform.backend, "gives_gpus", lambda wanted: said if wanted.divided else ""
        )
        deployed = await world.deploy(resources=Resources(gpu="0.2(A100)"))
        assert said in deployed.status.warnings
        assert said not in (await world.deploy(resources=Resources(gpu="1"))).status.warnings


async def test_a_mount_where_a_pod_has_something_of_the_platforms_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(start=False) as world:
        wanted = mounts.parse("1Gi(memory):/fast; 1Gi(memory):/models/more")
        await world.deploy(mounts=wanted)
        monkeypatch.setattr(world.platform.backend, "refuses_mount", mounts.refused_in_pod)
        with pytest.raises(Invalid, match=r"spec\.mounts\[1\]\.path: is in /models") as refused:
            await world.deploy(mounts=wanted, replicas=2)
        assert [each.path for each in refused.value.errors] == ["spec.mounts[1].path"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (ANY, "spec.server.command"),
        (DeploymentSpec(model="churn@1", health=Health(liveness=Probe(command="x"))), "spec.health"),
        (DeploymentSpec(model="churn@1", mounts=mounts.parse("/etc(host):/x")), "spec.mounts[0]"),
    ],
)
def test_commands_and_directories_of_the_machine_are_not_for_everybody(
    spec: DeploymentSpec, path: str
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with running(start=False) as world:
            for verb in (applying.apply, applying.plan, applying.preview):
                with pytest.raises(Forbidden, match="administrator") as refused:
                    await verb(world.platform, DEV, WEB, spec)  # type: ignore[operator]
                assert [each.path for each in refused.value.errors] == [path]
            async with world.database.read() as tx:
                [last] = await events.list(tx, limit=1)
            assert (last.reason, last.name) == ("Denied", "web")
            await applying.apply(world.platform, ADMIN, WEB, spec)
            scaled = DeploymentSpec(**{**_fields(spec), "replicas": 3})
            assert (await applying.apply(world.platform, DEV, WEB, scaled)).changed

    scenario()


@on_virtual_time
async def test_a_project_that_is_trusted_wholly_may_bring_its_commands_but_no_directories() -> None:
    async with running(start=False) as world:
        await trust(world)
        assert (await applying.apply(world.platform, DEV, WEB, ANY)).created
        hosted = DeploymentSpec(model="churn@1", mounts=mounts.parse("/etc(host):/x"))
        with pytest.raises(Forbidden, match="directories of the machine"):
            await applying.apply(world.platform, DEV, CHURN, hosted)


@on_virtual_time
async def test_a_shell_is_for_operators_of_a_trusted_project_and_is_written_down() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        with pytest.raises(Forbidden, match="trust of project default"):
            await shells.open(world.platform, OPS, CHURN, ("ls",))
        await trust(world)
        opened = await shells.open(world.platform, OPS, CHURN, ("ls", "-l"))
        with pytest.raises(NotFound, match="no open shell"):
            await shells.feed(world.platform, ADMIN, CHURN, opened.id, b"", end=True)
        await shells.feed(world.platform, OPS, CHURN, opened.id, b"more", end=True)
        read = await shells.output(world.platform, OPS, CHURN, opened.id)
        assert [each async for each in read][-1] == shells.Exit(code=0)
        assert len(world.platform.shells) == 0
        async with world.database.read() as tx:
            found = await events.list(tx, limit=20)
        said = next(each for each in found if each.reason == "ShellOpened")
        assert (said.actor, said.name, said.message) == ("ops", "churn", f"in {opened.replica}: ls -l")


@on_virtual_time
async def test_there_is_no_shell_where_nothing_runs_and_a_lonely_one_ends() -> None:
    async with running() as world:
        await world.deploy(replicas=0)
        with pytest.raises(Conflict, match="no replica of churn runs"):
            await shells.open(world.platform, ADMIN, CHURN, ())
        await world.deploy(replicas=1)
        await world.until_running()
        with pytest.raises(NotFound):
            await shells.open(world.platform, ADMIN, CHURN, (), replica="ghost")
        await shells.open(world.platform, ADMIN, CHURN, ())

        async def ended() -> bool:
            return len(world.platform.shells) == 0

        await world.until(ended)


def _fields(spec: DeploymentSpec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in DeploymentSpec.__slots__}


@on_virtual_time
async def test_what_an_administrator_took_away_does_not_come_back_by_a_rollback() -> None:
    async with running() as world:
        await world.deploy(mounts=mounts.parse("/etc(host):/x"))
        await world.until_running()
        await world.deploy(env={"A": "1"})
        await world.until_running()
        with pytest.raises(Forbidden, match="directories of the machine"):
            await operations.roll_back(world.platform, OPS, CHURN)
        assert (await world.deployment()).revision == 2
        await operations.roll_back(world.platform, ADMIN, CHURN)
        assert (await world.until_running()).spec.mounts
