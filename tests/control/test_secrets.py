"""Secrets of a project: who sets them, who uses them, and that nobody reads them back."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.control import applying, deployments, journal, operations, project_secrets, usable
from modelyard.control.project_secrets import Change
from modelyard.domain.access import Role
from modelyard.domain.deployment import DeploymentSpec, Key
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from modelyard.domain.secret import Secret
from modelyard.store import secrets as store
from tests.control.world import ADMIN, CHURN, World, member, running
from tests.support.virtual import on_virtual_time

P = "default"
DEV, OPS = member("dev", Role.DEVELOPER), member("ops", Role.OPERATOR)
ENV = {"PASSWORD": "{{secret.db.PASSWORD}}"}


async def put(world: World, name: str = "db", *, replace: bool = False, **values: Any) -> Secret:
    given = {key: value if isinstance(value, bytes) else value.encode() for key, value in values.items()}
    return await project_secrets.set(world.platform, DEV, P, name, Change(values=given, replace=replace))


async def given(world: World, **fields: Any) -> dict[str, dict[str, bytes]]:
    """What a replica of such a spec would read."""
    spec = DeploymentSpec(model="churn@1", **fields)
    found = await usable.values(world.platform, P, spec)
    return {name: dict(each.values) for name, each in found.items()}


@on_virtual_time
async def test_what_was_set_is_told_by_its_keys_and_read_by_replicas() -> None:
    async with running(start=False) as world:
        made = await put(world, PASSWORD="hunter2", USER="eve")
        assert (made.keys, made.binary, made.generation) == (("PASSWORD", "USER"), (), 1)
        assert (made.created_by, made.changed_by) == ("dev", "dev")
        assert await project_secrets.get(world.platform, OPS, P, "db") == made
        (listed,) = (await project_secrets.list(world.platform, OPS, P)).items
        assert listed == made
        assert await given(world, env=ENV) == {"db": {"PASSWORD": b"hunter2"}}


@on_virtual_time
async def test_setting_changes_what_is_given_and_leaves_the_rest() -> None:
    async with running(start=False) as world:
        await put(world, PASSWORD="one", USER="eve")
        after = await put(world, PASSWORD="two", CERT=b"\xff")
        assert (after.keys, after.binary, after.generation) == (("CERT", "PASSWORD", "USER"), ("CERT",), 2)
        change = Change(remove=frozenset({"CERT"}))
        assert (await project_secrets.set(world.platform, DEV, P, "db", change)).keys == ("PASSWORD", "USER")
        assert (await put(world, replace=True, USER="eve")).keys == ("USER",)
        assert (await put(world, USER="eve")).generation == 4  # nothing changed


@on_virtual_time
async def test_whoever_reads_what_changed_gets_a_new_revision() -> None:
    async with running() as world:
        await put(world, PASSWORD="one", USER="eve")
        await world.deploy(env=ENV)
        other, offline = Key(P, "other"), Key(P, "offline")
        await world.deploy(key=other, env={"USER": "{{secret.db.USER}}"})
        await world.deploy(key=offline, env=ENV, replicas=0)
        await world.until_running()
        assert (await put(world, PASSWORD="two")).used_by == ("churn", "offline", "other")
        after = await world.until_running()
        assert after.revision == 2
        assert {(await world.deployment(key)).revision for key in (other, offline)} == {1}
        newest = (await deployments.history(world.platform, ADMIN, CHURN)).items[0]
        assert newest.reason == "secret db changed"
        assert (await put(world, PASSWORD="two")).generation == 2
        assert (await world.deployment()).revision == 2


@on_virtual_time
async def test_what_is_still_being_stopped_starts_with_what_is_new() -> None:
    async with running() as world:
        await put(world, PASSWORD="one", USER="eve")
        await world.deploy(env=ENV)
        await world.until_running()
        await operations.scale(world.platform, ADMIN, CHURN, 0)
        await put(world, PASSWORD="two")
        assert (await world.deployment()).revision == 2


@on_virtual_time
async def test_a_key_that_a_running_revision_reads_stays() -> None:
    async with running() as world:
        await put(world, PASSWORD="one", USER="eve")
        await world.deploy(env={"A": "{{secret.db.USER}}"})
        await world.until_running()
        await world.deploy(env={"A": "{{secret.db.PASSWORD}}"})
        with pytest.raises(Conflict, match=r"'USER' is used by deployment churn"):
            await put(world, replace=True, PASSWORD="one")


@on_virtual_time
async def test_what_the_project_does_not_have_is_refused_by_its_field() -> None:
    async with running(start=False) as world:
        await put(world, PASSWORD="x", CERT=b"\xff")
        for text, said in (
            ("{{secret.other.KEY}}", "no secret 'other'"),
            ("{{secret.db.KEY}}", "no key 'KEY'; it has CERT, PASSWORD"),
            ("{{secret.db.CERT}}", "mount the secret"),
            ("{{secret.db}}", "names no value"),
        ):
            spec = DeploymentSpec(model="churn@1", env={"A": text})
            for verb in (applying.apply, applying.preview, applying.plan):
                with pytest.raises(Invalid) as refused:
                    await verb(world.platform, DEV, CHURN, spec)
                (wrong,) = refused.value.errors
                assert (wrong.path, said in wrong.message) == ("spec.env.A", True)


@on_virtual_time
async def test_a_rollback_to_what_names_a_secret_that_went_is_refused() -> None:
    async with running() as world:
        await put(world, PASSWORD="x")
        await world.deploy(env=ENV)
        await world.until_running()
        await world.deploy()
        await world.until_running()
        await project_secrets.delete(world.platform, DEV, P, "db")
        with pytest.raises(Invalid, match=r"spec\.env\.PASSWORD"):
            await operations.roll_back(world.platform, OPS, CHURN, to=1)


@on_virtual_time
async def test_what_is_used_is_not_deleted_but_by_force() -> None:
    async with running() as world:
        await put(world, PASSWORD="x", USER="eve")
        await world.deploy(env=ENV)
        await world.until_running()
        with pytest.raises(Conflict, match="used by deployment churn"):
            await project_secrets.delete(world.platform, DEV, P, "db")
        with pytest.raises(Conflict, match=r"'PASSWORD' is used by deployment churn \(spec\.env\.PASSWORD\)"):
            await put(world, replace=True, USER="eve")
        with pytest.raises(Invalid, match="no variable can carry"):
            await put(world, PASSWORD=b"\xff")
        await project_secrets.delete(world.platform, DEV, P, "db", force=True)
        with pytest.raises(NotFound):
            await project_secrets.get(world.platform, DEV, P, "db")
        await operations.restart(world.platform, OPS, CHURN)

        async def told() -> bool:
            return "SecretUnavailable" in repr((await world.deployment()).status)

        await world.until(told)
        assert len(await world.ready()) == 1  # what ran goes on
        await put(world, PASSWORD="y")
        assert (await world.until_running()).revision == 3


@on_virtual_time
async def test_those_who_deploy_use_what_they_may_not_set() -> None:
    ci = member("dev", Role.DEVELOPER)
    limited = type(ci)(name="ci", roles=ci.roles, scope=frozenset({"deploy", "read"}))  # type: ignore[arg-type]
    async with running(start=False) as world:
        await put(world, PASSWORD="x")
        await applying.apply(world.platform, limited, CHURN, DeploymentSpec(model="churn@1", env=ENV))
        with pytest.raises(Forbidden, match="limited to"):
            await project_secrets.set(world.platform, limited, P, "db", Change(values={"A": b"b"}))
        with pytest.raises(Forbidden):
            await project_secrets.set(world.platform, OPS, P, "db", Change(values={"A": b"b"}))


@on_virtual_time
async def test_bad_keys_and_too_much_are_refused() -> None:
    async with running(start=False) as world:
        for values in ({"a b": "x"}, {"K": "x" * (1 << 20)}, {}):
            with pytest.raises(Invalid, match=r"^values: "):
                await put(world, **values)
        with pytest.raises(Invalid, match=r"^name: "):
            await put(world, "No Name", K="x")
        with pytest.raises(NotFound, match="project 'nowhere'"):
            await project_secrets.set(world.platform, ADMIN, "nowhere", "db", Change(values={"K": b"x"}))
        with pytest.raises(Conflict):
            await project_secrets.set(world.platform, DEV, P, "db", Change(values={"K": b"x"}), expected=3)


@on_virtual_time
async def test_another_master_key_opens_nothing_and_says_what_to_do() -> None:
    async with running(start=False) as world:
        await put(world, PASSWORD="x")
        other = type(world.platform)(
            **{name: getattr(world.platform, name) for name in world.platform.__slots__}
            | {"master_key": b"another"}
        )
        with pytest.raises(Conflict, match="--replace"):
            await project_secrets.set(other, DEV, P, "db", Change(values={"A": b"b"}))
        made = await project_secrets.set(other, DEV, P, "db", Change(values={"A": b"b"}, replace=True))
        assert made.keys == ("A",)


@on_virtual_time
async def test_what_is_stored_for_one_secret_opens_no_other() -> None:
    async with running(start=False) as world:
        await put(world, PASSWORD="x")
        await put(world, "mine", PASSWORD="y")
        async with world.database.begin() as tx:
            stored = await store.get(tx, P, "db")
            assert stored is not None
            await tx.change(
                sa.text("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'db')")
            )
        with pytest.raises(Exception, match="'mine' of project 'default' cannot be read"):
            await given(world, env={"A": "{{secret.mine.PASSWORD}}"})


@on_virtual_time
async def test_no_value_is_stored_told_or_logged_anywhere() -> None:
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(f"{record.getMessage()} {record.__dict__}")  # type: ignore[method-assign]
    logging.getLogger().addHandler(listener)
    try:
        async with running() as world:
            await put(world, PASSWORD="hunter2")
            await world.deploy(env=ENV)
            await world.until_running()
            await put(world, PASSWORD="hunter3")
            after = await world.until_running()
            said = [repr(after), repr(await journal.of_project(world.platform, ADMIN, P))]
            said += [repr(await deployments.explain(world.platform, ADMIN, CHURN))]
            said += [repr(await deployments.history(world.platform, ADMIN, CHURN))]
            async with world.database.read() as tx:
                tables = await tx.rows(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'"))
                for table in tables:
                    said.append(repr(await tx.rows(sa.text(f'SELECT * FROM "{table.name}"'))))
            read = await usable.values(world.platform, P, after.spec)
    finally:
        logging.getLogger().removeHandler(listener)
    assert "secrets" in {table.name for table in tables}
    assert "set PASSWORD" in said[1]
    for text in (*said, *heard, repr(read)):
        assert "hunter" not in text
