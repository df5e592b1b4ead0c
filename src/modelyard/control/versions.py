"""Model versions: list, show, describe, delete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from modelyard.control import authorise, models
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import Conflict
from modelyard.domain.model import Model, ModelVersion
from modelyard.store import Page, Transaction
from modelyard.store import models as model_store
from modelyard.store import versions as store

KIND = "version"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChange:
    """What to change of a version's words; None leaves it. Files and signature never change."""

    description: str | None = None
    label: str | None = None
    """An empty text removes the label."""
    metrics: dict[str, Any] | str | None = None


async def list(
    platform: Platform, actor: Actor, project: str, model: str, *, limit: int = 100, after: str = ""
) -> Page[ModelVersion]:
    """The model's versions, newest first."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=model)
    async with platform.database.read() as tx:
        await models.found(tx, project, model)
        return await store.list(tx, project, model, limit=limit, after=after)


async def get(
    platform: Platform, actor: Actor, project: str, model: str, selector: str = naming.LATEST
) -> ModelVersion:
    """One version by number, `latest`, alias or label; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=f"{model}@{selector}")
    async with platform.database.read() as tx:
        return await models.resolve(tx, project, naming.ModelRef(model, selector))


async def update(  # noqa: PLR0913 - what it is, what to change, and the generation it must have
    platform: Platform,
    actor: Actor,
    project: str,
    model: str,
    selector: str,
    change: VersionChange,
    *,
    expected: int | None = None,
) -> ModelVersion:
    """Change description, label or metrics; raises Conflict when another version has the label."""
    name = f"{model}@{selector}"
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        version = await models.resolve(tx, project, naming.ModelRef(model, selector))
        if change.label:
            await require_free_label(tx, version, change.label)
        changed = await store.update(
            tx, _changed(version, change), expected=version.generation if expected is None else expected
        )
        message = ", ".join(f for f in ("description", "label", "metrics") if getattr(change, f) is not None)
        await authorise.note(
            platform,
            tx,
            actor,
            project=project,
            kind=KIND,
            name=version.ref,
            reason="Changed",
            message=message,
        )
    return changed


async def delete(platform: Platform, actor: Actor, project: str, model: str, selector: str) -> None:
    """Delete a version and the aliases that mean it; raises Conflict while a deployment uses it.

    The number is not given again. A model without versions stays, with its description.
    """
    name = f"{model}@{selector}"
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        version = await models.resolve(tx, project, naming.ModelRef(model, selector))
        await models.require_unused(tx, project, model, version.version)
        await store.delete(tx, project, model, version.version)
        await _forget(tx, await models.found(tx, project, model), version.version)
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=version.ref, reason="Deleted"
        )


async def require_free_label(tx: Transaction, version: ModelVersion, label: str) -> None:
    """Raises Invalid for a word that is no label, Conflict when another version or an alias has it."""
    naming.require_label(label, "label")
    other = await store.find_label(tx, version.project, version.model, label)
    if other is not None and other.version != version.version:
        raise Conflict(f"label {label!r} belongs to {other.ref} already; choose another, or change that one")
    model = await model_store.get(tx, version.project, version.model)
    if model is not None and label in model.aliases:
        raise Conflict(f"label {label!r} is an alias of {version.model} already; choose another")


def _changed(version: ModelVersion, change: VersionChange) -> ModelVersion:
    return replace(
        version,
        description=version.description if change.description is None else change.description,
        label=version.label if change.label is None else change.label,
        metrics=version.metrics if change.metrics is None else change.metrics,
    )


async def _forget(tx: Transaction, model: Model, number: str) -> None:
    """Take a deleted version out of its model's aliases and latest."""
    newest = (await store.list(tx, model.project, model.name, limit=1)).items
    left = {alias: target for alias, target in model.aliases.items() if target != number}
    changed = replace(model, aliases=left, latest=newest[0].version if newest else "")
    await model_store.update(tx, changed, expected=model.generation)
