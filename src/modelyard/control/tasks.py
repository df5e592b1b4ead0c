"""Tasks: models are validated and tested in turn, by the platform's own line or by the cluster's queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.backends.base import Answer, Task
from modelyard.control import addressing, authorise
from modelyard.control.line import Asked, NoTurn, visible
from modelyard.control.platform import Platform
from modelyard.domain import queue
from modelyard.domain.access import Actor, Resource, Verb, may
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import ModelVersion
from modelyard.domain.node import NodeClass
from modelyard.domain.placement import Request, Unfit, claims, place
from modelyard.domain.priority import Level
from modelyard.domain.queue import Queued, Room

KIND = "queue"
OTHERS = "another project"
"""Stands for what the caller may not read."""
BACKGROUND_SECONDS = 2.0
"""So long the loop waits for a turn of its own validations; then it does something else and comes again."""

QUEUED_SECONDS = 6 * 3600.0
"""So long a turn of them is awaited where the cluster decides: giving up loses the place in its queue."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose task it is, as the queue shows it."""

    project: str
    name: str
    """Such as `churn@3`, or where a model's files are."""


def subject_of(version: ModelVersion) -> Subject:
    """A version's, which has no number before it is published."""
    return Subject(version.project, version.ref if version.version else version.model)


async def run(
    platform: Platform,
    subject: Subject,
    task: Task,
    *,
    level: Level = Level.NORMAL,
    goes_on: bool = False,
) -> Answer:
    """What comes of a task, when it was its turn; raises NoTurn, with its position, if that takes long.

    What nobody waits for is of the level low, and gives up soon: it is asked for again, and keeps its number.
    What goes on with something does not, as giving up would lose what was done before it.
    """
    decides = platform.backend.admits_tasks()
    patience = _patience(platform, level, goes_on=goes_on, decides=bool(decides))
    asked = Asked(
        project=subject.project,
        subject=subject.name,
        kind=task.kind,
        level=level,
        request=Request(gpus=task.wanted.whole, models=task.wanted.models if task.wanted.whole else ()),
        since=platform.at(),
        patience_seconds=patience,
    )
    if asked.request.gpus:
        await _require(platform, asked.request)
    if decides:
        with platform.line.told(asked) as told:
            answer = await platform.backend.run(replace(task, told=told, patience_seconds=patience))
        if answer.failure is not None and answer.failure.reason == "Queued":
            raise NoTurn(answer.failure.message, retry_after_seconds=10.0)
        return answer
    async with platform.line.place(asked, lambda cards: _room(platform, cards=cards)) as begin:
        gpus = begin.placement.gpus if begin.placement else ()
        return await platform.backend.run(replace(task, gpus=gpus))


async def list(platform: Platform, actor: Actor) -> tuple[Queued, ...]:
    """What runs and what waits, in the order of turns; of projects that the caller may not read only that."""
    await authorise.require(platform, actor, Verb.READ, Resource(), kind=KIND)
    return visible(platform.line.seen(), lambda name: may(actor, Verb.READ, Resource(project=name)), OTHERS)


def _patience(platform: Platform, level: Level, *, goes_on: bool, decides: bool) -> float:
    """Seconds until the task gives up its turn."""
    if level is not Level.LOW:
        return platform.queue_seconds
    if decides:
        return max(QUEUED_SECONDS, platform.queue_seconds)
    return platform.queue_seconds if goes_on else BACKGROUND_SECONDS


async def _require(platform: Platform, request: Request) -> None:
    """Nothing, when some node could have such cards free; else Unavailable, as waiting would not help."""
    found = place(request, await platform.backend.nodes(), (), node_class=NodeClass.COMPUTE)
    if isinstance(found, Unfit):
        raise Unavailable(found.message, retry_after_seconds=10.0)


async def _room(platform: Platform, *, cards: bool) -> Room:
    nodes = await platform.backend.nodes()
    keys = await platform.backend.keys() if cards else ()
    running = [replica for key in keys for replica in await platform.backend.observe(key)]
    places = queue.places_of(nodes, platform.task_places)
    return Room(places=places, own=await _own(platform), nodes=nodes, held=claims(running))


async def _own(platform: Platform) -> dict[str, int]:
    """Places that are a project's own, by its name."""
    async with platform.database.read() as tx:
        found = await addressing.all_projects(tx)
    return {each.name: each.spec.quota.tasks for each in found if each.spec.quota.tasks > 0}
