"""Events: what happened, for those who may see it."""

from __future__ import annotations

from modelyard.control import authorise
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Verb
from modelyard.domain.event import Event
from modelyard.store import events as store

KIND = "event"


async def of_project(  # noqa: PLR0913 - the filters, each by its name
    platform: Platform,
    actor: Actor,
    project: str,
    *,
    kind: str = "",
    name: str = "",
    after: int = 0,
    limit: int = 100,
    newest_first: bool = True,
) -> tuple[Event, ...]:
    """What happened in a project; `after` is the id of the last event seen.

    With `newest_first=False`, asking again with the last id follows without missing anything.
    """
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=name)
    async with platform.database.read() as tx:
        return await store.list(
            tx, project=project, kind=kind, name=name, after=after, limit=limit, newest_first=newest_first
        )


async def of_platform(
    platform: Platform, actor: Actor, *, after: int = 0, limit: int = 100, newest_first: bool = True
) -> tuple[Event, ...]:
    """What happened anywhere. Administrators only."""
    await authorise.administrator(platform, actor, kind=KIND)
    async with platform.database.read() as tx:
        return await store.list(tx, after=after, limit=limit, newest_first=newest_first)
