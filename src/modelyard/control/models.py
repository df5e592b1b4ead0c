"""Models: list, show, describe, alias, delete."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import authorise, missing
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment
from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.model import Model, ModelVersion
from modelyard.store import Page, Snapshot, Transaction, deployments, projects, versions
from modelyard.store import models as store

KIND = "model"


async def list(
    platform: Platform, actor: Actor, project: str, *, limit: int = 100, after: str = ""
) -> Page[Model]:
    """The project's models by name."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        return await store.list(tx, project, limit=limit, after=after)


async def get(platform: Platform, actor: Actor, project: str, name: str) -> Model:
    """One model; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=name)
    async with platform.database.read() as tx:
        return await found(tx, project, name)


async def describe(
    platform: Platform,
    actor: Actor,
    project: str,
    name: str,
    *,
    description: str,
    expected: int | None = None,
) -> Model:
    """Change the words about a model."""
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        model = replace(await found(tx, project, name), description=description)
        changed = await store.update(tx, model, expected=model.generation if expected is None else expected)
        await authorise.note(
            platform,
            tx,
            actor,
            project=project,
            kind=KIND,
            name=name,
            reason="Changed",
            message="description",
        )
    return changed


async def set_alias(
    platform: Platform, actor: Actor, project: str, name: str, alias: str, version: str
) -> Model:
    """Point an alias such as `champion` at a version (number, label or alias).

    What is deployed keeps its version: references are pinned when they are applied.
    """
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    naming.require_alias(alias, "alias")
    async with platform.database.begin() as tx:
        model = await found(tx, project, name)
        target = await resolve(tx, project, naming.ModelRef(name, version))
        if await versions.find_label(tx, project, name, alias):
            raise Conflict(f"alias {alias!r} is the label of a version already; choose another word")
        changed = replace(model, aliases={**model.aliases, alias: target.version})
        changed = await store.update(tx, changed, expected=model.generation)
        message = f"{alias} is {target.version}"
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=name, reason="AliasSet", message=message
        )
    return changed


async def remove_alias(platform: Platform, actor: Actor, project: str, name: str, alias: str) -> Model:
    """Remove an alias; raises NotFound when there is none."""
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        model = await found(tx, project, name)
        if alias not in model.aliases:
            raise NotFound(f"model {name!r} has no alias {alias!r}")
        left = {known: target for known, target in model.aliases.items() if known != alias}
        changed = await store.update(tx, replace(model, aliases=left), expected=model.generation)
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=name, reason="AliasRemoved", message=alias
        )
    return changed


async def delete(platform: Platform, actor: Actor, project: str, name: str) -> None:
    """Delete a model with all its versions; raises Conflict while a deployment uses one."""
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        await found(tx, project, name)
        await require_unused(tx, project, name)
        while page := (await versions.list(tx, project, name, limit=1000)).items:
            for each in page:
                await versions.delete(tx, project, name, each.version)
        await store.delete(tx, project, name)
        await authorise.note(platform, tx, actor, project=project, kind=KIND, name=name, reason="Deleted")


async def found(tx: Snapshot, project: str, name: str) -> Model:
    """The model; raises NotFound."""
    model = await store.get(tx, project, name)
    if model is None:
        raise missing.model(project, name)
    return model


async def resolve(tx: Snapshot, project: str, ref: naming.ModelRef) -> ModelVersion:
    """The version that a number, `latest`, an alias or a label means; raises NotFound."""
    model = await found(tx, project, ref.name)
    number = ref.number or model.aliases.get(ref.selector, "")
    if ref.selector == naming.LATEST:
        number = model.latest
    if number:
        version = await versions.get(tx, project, ref.name, number)
    else:
        version = await versions.find_label(tx, project, ref.name, ref.selector)
    if version is None:
        raise missing.version(project, str(ref))
    return version


async def require_unused(tx: Transaction, project: str, name: str, version: str = "") -> None:
    """Raises Conflict that names the deployments which use the version, or any when it is empty."""
    using = await deployments.using_version(tx, project, name, version)
    if using:
        what = f"{name}@{version}" if version else name
        raise Conflict(f"{what} is used by {_names(using)}; undeploy or change what uses it first")


def _names(using: tuple[Deployment, ...]) -> str:
    return ", ".join(f"deployment {d.key.service}" for d in using[:5]) + (" and others" if using[5:] else "")
