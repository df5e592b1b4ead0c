from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from modelyard import control
from modelyard.backends.base import Terminal
from modelyard.control import (
    applying,
    certificates,
    deployments,
    downloads,
    endpoints,
    journal,
    lifecycle,
    login,
    members,
    metrics,
    models,
    nodes,
    operations,
    project_secrets,
    projects,
    publishing,
    quotas,
    reach,
    rollouts,
    runtimes,
    shells,
    system,
    tasks,
    tokens,
    trials,
    users,
    validation,
    versions,
)
from modelyard.control.platform import Platform
from modelyard.control.project_secrets import Change
from modelyard.domain.access import Actor, Role
from modelyard.domain.deployment import DeploymentSpec, Key, Stage
from modelyard.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from modelyard.domain.model import PublishSpec
from modelyard.domain.naming import ModelRef
from modelyard.domain.project import ProjectSpec, Trust
from modelyard.domain.runtime import RuntimeSpec
from modelyard.domain.traffic_spec import EndpointSpec
from modelyard.gateway.base import Certificate
from modelyard.store import events
from tests.control.world import ADMIN, member, running
from tests.support.virtual import on_virtual_time

P = "default"
KEY = Key(P, "churn")
TESTED = Key(P, "churn", Stage.TEST)
REF = ModelRef("churn", "1")
SPEC = DeploymentSpec(model="churn@1")
Verb = Callable[[Platform, Actor], Awaitable[object]]


async def _no_parts() -> AsyncIterator[publishing.Part]:
    return
    yield


READING: dict[str, Verb] = {
    "projects.get": lambda p, a: projects.get(p, a, P),
    "quotas.uses": lambda p, a: quotas.uses(p, a, P),
    "reach.of": lambda p, a: reach.of(p, a, P),
    "members.list": lambda p, a: members.list(p, a, P),
    "models.list": lambda p, a: models.list(p, a, P),
    "models.get": lambda p, a: models.get(p, a, P, "churn"),
    "versions.list": lambda p, a: versions.list(p, a, P, "churn"),
    "versions.get": lambda p, a: versions.get(p, a, P, "churn"),
    "downloads.artifact": lambda p, a: downloads.artifact(p, a, P, REF),
    "downloads.file": lambda p, a: downloads.file(p, a, P, REF, artifact_name="", path="model.joblib"),
    "runtimes.list": lambda p, a: runtimes.list(p, a, P),
    "runtimes.get": lambda p, a: runtimes.get(p, a, P, "host"),
    "project_secrets.list": lambda p, a: project_secrets.list(p, a, P),
    "deployments.list": lambda p, a: deployments.list(p, a, P),
    "deployments.get": lambda p, a: deployments.get(p, a, KEY),
    "deployments.history": lambda p, a: deployments.history(p, a, KEY),
    "deployments.explain": lambda p, a: deployments.explain(p, a, KEY),
    "metrics.of": lambda p, a: metrics.of(p, a, KEY, since=0.0, until=1.0),
    "rollouts.status": lambda p, a: rollouts.status(p, a, KEY),
    "deployments.server": lambda p, a: deployments.server(p, a, KEY),
    "endpoints.list": lambda p, a: endpoints.list(p, a, P),
    "endpoints.get": lambda p, a: endpoints.get(p, a, KEY),
    "journal.of_project": lambda p, a: journal.of_project(p, a, P),
}
OPERATING: dict[str, Verb] = {
    "trials.test": lambda p, a: trials.test(p, a, P, REF, trials.TestRequest()),
    "deployments.logs": lambda p, a: deployments.logs(p, a, KEY),
    "deployments.token": lambda p, a: deployments.token(p, a, KEY),
    "shells.open": lambda p, a: shells.open(p, a, KEY, ("true",)),
    "shells.output": lambda p, a: shells.output(p, a, KEY, "id"),
    "shells.feed": lambda p, a: shells.feed(p, a, KEY, "id", b"", end=True),
    "shells.resize": lambda p, a: shells.resize(p, a, KEY, "id", Terminal()),
    "shells.close": lambda p, a: shells.close(p, a, KEY, "id"),
    "operations.scale": lambda p, a: operations.scale(p, a, KEY, 2),
    "operations.restart": lambda p, a: operations.restart(p, a, KEY),
    "operations.roll_back": lambda p, a: operations.roll_back(p, a, KEY, to=1),
    "operations.rotate_token": lambda p, a: operations.rotate_token(p, a, KEY),
    "rollouts.comparison": lambda p, a: rollouts.comparison(p, a, KEY),
    "rollouts.pause": lambda p, a: rollouts.pause(p, a, KEY),
    "rollouts.resume": lambda p, a: rollouts.resume(p, a, KEY),
    "rollouts.abort": lambda p, a: rollouts.abort(p, a, KEY),
    "endpoints.apply": lambda p, a: endpoints.apply(p, a, KEY, EndpointSpec()),
    "lifecycle.clear": lambda p, a: lifecycle.clear(p, a, KEY, every_stage=True),
}
DEVELOPING: dict[str, Verb] = {
    "models.describe": lambda p, a: models.describe(p, a, P, "churn", description="x"),
    "models.set_alias": lambda p, a: models.set_alias(p, a, P, "churn", "champion", "1"),
    "models.remove_alias": lambda p, a: models.remove_alias(p, a, P, "churn", "champion"),
    "models.delete": lambda p, a: models.delete(p, a, P, "churn"),
    "versions.update": lambda p, a: versions.update(
        p, a, P, "churn", "1", versions.VersionChange(description="x")
    ),
    "versions.delete": lambda p, a: versions.delete(p, a, P, "churn", "1"),
    "publishing.publish": lambda p, a: publishing.publish(p, a, P, PublishSpec(name="new"), _no_parts()),
    "publishing.preview": lambda p, a: publishing.preview(p, a, P, PublishSpec(name="new"), _no_parts()),
    "validation.validate": lambda p, a: validation.validate(p, a, P, REF),
    "runtimes.apply": lambda p, a: runtimes.apply(p, a, P, "mine", RuntimeSpec()),
    "runtimes.build": lambda p, a: runtimes.build(p, a, P, "mine"),
    "runtimes.delete": lambda p, a: runtimes.delete(p, a, P, "mine"),
    "project_secrets.set": lambda p, a: project_secrets.set(p, a, P, "db", Change(values={"K": b"v"})),
    "project_secrets.delete": lambda p, a: project_secrets.delete(p, a, P, "db"),
    "applying.apply": lambda p, a: applying.apply(p, a, KEY, SPEC),
    "applying.preview": lambda p, a: applying.preview(p, a, KEY, SPEC),
    "applying.publish_service": lambda p, a: applying.publish_service(p, a, P, REF, name="s"),
    "operations.delete": lambda p, a: operations.delete(p, a, KEY),
    "operations.copy": lambda p, a: operations.copy(p, a, KEY, "copied"),
    "applying.plan": lambda p, a: applying.plan(p, a, KEY, SPEC),
    "lifecycle.promote": lambda p, a: lifecycle.promote(p, a, TESTED),
    "lifecycle.plan_promotion": lambda p, a: lifecycle.plan_promotion(p, a, TESTED),
}
GRANTING: dict[str, Verb] = {
    "projects.apply": lambda p, a: projects.apply(p, a, P, ProjectSpec()),
    "members.put": lambda p, a: members.put(p, a, P, "bob", Role.VIEWER),
    "members.remove": lambda p, a: members.remove(p, a, P, "bob"),
}
ADMINISTERING: dict[str, Verb] = {
    "projects.create": lambda p, a: projects.create(p, a, "new", ProjectSpec()),
    "projects.delete": lambda p, a: projects.delete(p, a, P),
    "projects.apply to trust all": lambda p, a: projects.apply(p, a, P, ProjectSpec(trust=Trust.FULL)),
    "users.list": lambda p, a: users.list(p, a),
    "users.create": lambda p, a: users.create(p, a, "new"),
    "users.update of rights": lambda p, a: users.update(
        p, a, a.name or "x", users.UserChange(administrator=True)
    ),
    "users.delete": lambda p, a: users.delete(p, a, "admin"),
    "journal.of_platform": lambda p, a: journal.of_platform(p, a),
    "certificates.upload": lambda p, a: certificates.upload(p, a, Certificate(chain="", key="")),
    "certificates.remove": lambda p, a: certificates.remove(p, a),
    "nodes.classify": lambda p, a: nodes.classify(p, a, "memory", ["compute"]),
    "projects.apply of a domain": lambda p, a: projects.apply(p, a, P, ProjectSpec(domain="a.example")),
}
OF_OTHERS: dict[str, Verb] = {
    "users.get": lambda p, a: users.get(p, a, "admin"),
    "users.update": lambda p, a: users.update(p, a, "admin", users.UserChange(password="a new password")),
    "tokens.list": lambda p, a: tokens.list(p, a, user="admin"),
    "tokens.create": lambda p, a: tokens.create(p, a, tokens.TokenRequest(user="admin")),
    "login.make_link": lambda p, a: login.make_link(p, a, user="admin"),
}
FOR_ALL: dict[str, Verb] = {
    "projects.list": lambda p, a: projects.list(p, a),
    "nodes.list": lambda p, a: nodes.list(p, a),
    "nodes.get": lambda p, a: nodes.get(p, a, "memory"),
    "system.describe": lambda p, a: system.describe(p, a),
    "tasks.list": lambda p, a: tasks.list(p, a),
    "certificates.show": lambda p, a: certificates.show(p, a),
}
IN_PROJECT = READING | OPERATING | DEVELOPING | GRANTING
EVERYTHING = IN_PROJECT | ADMINISTERING | OF_OTHERS | FOR_ALL
CHECKED_ELSEWHERE = {
    "project_secrets.get",
    "login.whoami", "tokens.revoke", "tokens.issue", "system.answered", "system.remember",
}  # fmt: skip
"""Own things, tested with accounts; and what works for any caller on nothing but its own requests."""
INNER = {
    "authorise", "environments", "recording", "controller", "watching", "installation", "shutdown",
    "platform", "secrets", "kinds", "missing", "loop", "samples", "reading", "views",
}  # fmt: skip
PARTS_OF_VERBS = {
    "operations.renew",
    "operations.create", "operations.rerun", "operations.announce", "deployments.allowed", "validation.keep",
    "addressing.require_host", "reach.require_known", "reach.forget",
    "servers.require_permitted", "servers.require_shell_permitted", "authorise.denied",
}  # fmt: skip
"""Functions that verbs are made of, called only after they have asked."""


def test_every_verb_is_tested_here() -> None:
    tested = {name.split()[0] for name in EVERYTHING} | CHECKED_ELSEWHERE | PARTS_OF_VERBS
    for module in pkgutil.iter_modules(control.__path__):
        if module.name in INNER or module.ispkg:
            continue
        found = importlib.import_module(f"modelyard.control.{module.name}")
        for name, function in inspect.getmembers(found, inspect.iscoroutinefunction):
            own = function.__module__ == found.__name__ and not name.startswith("_")
            if own and "actor" in inspect.signature(function).parameters:
                assert f"{module.name}.{name}" in tested


def assert_denied(verb: Verb, actor: Actor, error: type[Exception] = Forbidden) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with running(start=False) as world:
            await world.deploy()
            with pytest.raises(error):
                await verb(world.platform, actor)
            async with world.database.read() as tx:
                [last] = await events.list(tx, limit=1)
            assert (last.reason, last.actor) == ("Denied", actor.name)

    scenario()


@pytest.mark.parametrize("name", IN_PROJECT)
def test_nobody_from_another_project_may(name: str) -> None:
    assert_denied(IN_PROJECT[name], member("eve", Role.OWNER, project="other"))


@pytest.mark.parametrize("name", EVERYTHING)
def test_nobody_without_a_name_may(name: str) -> None:
    assert_denied(EVERYTHING[name], login.NOBODY, Unauthenticated)


@pytest.mark.parametrize("name", OPERATING | DEVELOPING | GRANTING)
def test_viewers_may_not(name: str) -> None:
    assert_denied((OPERATING | DEVELOPING | GRANTING)[name], member("val", Role.VIEWER))


@pytest.mark.parametrize("name", DEVELOPING | GRANTING)
def test_operators_may_not(name: str) -> None:
    assert_denied((DEVELOPING | GRANTING)[name], member("ops", Role.OPERATOR))


@pytest.mark.parametrize("name", GRANTING)
def test_developers_may_not(name: str) -> None:
    assert_denied(GRANTING[name], member("dev", Role.DEVELOPER))


@pytest.mark.parametrize("name", ADMINISTERING | OF_OTHERS)
def test_owners_may_not(name: str) -> None:
    assert_denied((ADMINISTERING | OF_OTHERS)[name], member("olga", Role.OWNER))


def test_viewers_may_read() -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with running(start=False) as world:
            await world.deploy()
            for name, verb in READING.items():
                if not name.startswith("downloads."):
                    await verb(world.platform, member("val", Role.VIEWER))

    scenario()


@on_virtual_time
async def test_a_node_names_only_replicas_of_projects_that_one_may_read() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        (mine,) = await nodes.list(world.platform, member("val", Role.VIEWER))
        (others,) = await nodes.list(world.platform, member("eve", Role.OWNER, project="other"))
    assert len(mine.replicas) == len(others.replicas) > 0
    assert mine.replicas[0].startswith("default/churn/")
    assert set(others.replicas) == {"another project"}


@on_virtual_time
async def test_a_refusal_does_not_tell_what_exists() -> None:
    async with running(start=False) as world:
        eve = member("eve", Role.OWNER, project="other")
        said = []
        for name in ("churn", "nothing"):
            with pytest.raises(Forbidden) as refused:
                await models.get(world.platform, eve, P, name)
            said.append(refused.value.message)
        with pytest.raises(Forbidden):
            await projects.get(world.platform, eve, "nowhere")
    assert said[0] == said[1]


@on_virtual_time
async def test_events_carry_no_secrets() -> None:
    async with running(start=False) as world:
        platform = world.platform
        await world.deploy(env={"PASSWORD": "swordfish"}, config_files={"a.ini": "swordfish"})
        await world.deploy(env={"PASSWORD": "swordfish-2"}, config_files={"a.ini": "swordfish-2"})
        await users.create(platform, ADMIN, "bob")
        issued = await tokens.create(platform, ADMIN, tokens.TokenRequest(user="bob"))
        link = await login.make_link(platform, ADMIN, user="bob")
        rotated = await operations.rotate_token(platform, ADMIN, KEY)
        async with world.database.read() as tx:
            told = repr(await events.list(tx, limit=1000))
    for secret in ("swordfish", issued.secret, link.url.rpartition("/")[2], rotated):
        assert secret not in told


@on_virtual_time
async def test_an_alias_that_nobody_knows_is_not_found() -> None:
    async with running(start=False) as world:
        with pytest.raises(NotFound):
            await models.remove_alias(world.platform, ADMIN, P, "churn", "champion")


@on_virtual_time
async def test_an_image_is_refused_where_replicas_are_no_containers() -> None:
    spec = RuntimeSpec(image="team/torch:2")
    async with running() as world:
        made = await runtimes.apply(world.platform, ADMIN, P, "torch", spec)
        assert made.spec == spec
        world.platform.backend.refuses_images = lambda: "there are no containers"  # type: ignore[method-assign]
        with pytest.raises(Invalid, match=r"spec\.image: there are no containers") as refused:
            await runtimes.apply(world.platform, ADMIN, P, "other", spec)
        assert [each.path for each in refused.value.errors] == ["spec.image"]


@on_virtual_time
async def test_only_an_administrator_names_an_interpreter_of_the_machine() -> None:
    spec = RuntimeSpec(interpreter="/opt/it/bin/python")
    async with running() as world:
        with pytest.raises(Forbidden):
            await runtimes.apply(world.platform, member("ada", Role.OWNER), P, "mine", spec)
        made = await runtimes.apply(world.platform, ADMIN, P, "mine", spec)
    assert made.spec == spec
