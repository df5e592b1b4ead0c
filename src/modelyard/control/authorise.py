"""The door of every verb: who may pass, and the record of who was turned away."""

from __future__ import annotations

from modelyard.control.platform import Platform
from modelyard.domain import access
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.errors import Forbidden, Unauthenticated
from modelyard.domain.event import Event
from modelyard.store import Transaction, events


async def require(
    platform: Platform, actor: Actor, verb: Verb, resource: Resource, *, kind: str, name: str = ""
) -> None:
    """Nothing when the actor may; else the attempt is recorded, and Unauthenticated or Forbidden raised.

    Asked before anything is looked up, so that a refusal does not tell what exists.
    """
    try:
        access.require(actor, verb, resource)
    except (Forbidden, Unauthenticated) as error:
        message = f"{verb}: {error.message}"
        await denied(platform, actor, project=resource.project, kind=kind, name=name, message=message)
        raise


async def denied(
    platform: Platform, actor: Actor, *, project: str, kind: str, name: str, message: str
) -> None:
    """Record that somebody was turned away."""
    said = event(
        platform, actor, project=project, kind=kind, name=name[:200], reason="Denied", message=message
    )
    async with platform.database.begin() as tx:
        await events.append(tx, said)


async def in_project(
    platform: Platform, actor: Actor, verb: Verb, project: str, *, kind: str, name: str = ""
) -> None:
    """As `require`, for something that belongs to a project."""
    await require(platform, actor, verb, Resource(project=project), kind=kind, name=name)


async def administrator(platform: Platform, actor: Actor, *, kind: str, name: str = "") -> None:
    """As `require`, for what only administrators may."""
    await require(platform, actor, Verb.ADMINISTER, Resource(), kind=kind, name=name)


async def note(  # noqa: PLR0913 - the fields of an event, each by its name
    platform: Platform,
    tx: Transaction,
    actor: Actor | None,
    *,
    project: str = "",
    kind: str,
    name: str,
    reason: str,
    message: str = "",
) -> None:
    """Record what is done in the transaction that does it; None is the platform itself."""
    done = event(platform, actor, project=project, kind=kind, name=name, reason=reason, message=message)
    await events.append(tx, done)


def event(  # noqa: PLR0913 - the fields of an event, each by its name
    platform: Platform,
    actor: Actor | None,
    *,
    project: str,
    kind: str,
    name: str,
    reason: str,
    message: str,
) -> Event:
    """An event that happens now."""
    return Event(
        at=platform.at(),
        project=project,
        kind=kind,
        name=name,
        reason=reason,
        message=message,
        actor=actor.name if actor else "",
    )
