"""A service's figures over an interval, for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from modelyard.control import deployments
from modelyard.control.measuring import by_replica, usage_of
from modelyard.control.platform import Platform
from modelyard.domain import figures, observation
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Key
from modelyard.domain.figures import Metrics, ReplicaFigures, RevisionFigures
from modelyard.domain.observation import MIRROR, Window
from modelyard.store import measures
from modelyard.store.measures import Kept


async def of(
    platform: Platform,
    actor: Actor,
    key: Key,
    *,
    since: float,
    until: float,
    step: float | None = None,
) -> Metrics:
    """All that is known of a service in an interval, whole and in steps; raises NotFound and Invalid."""
    await deployments.allowed(platform, actor, Verb.READ, key)
    step = figures.step_for(since, until, step, now=platform.clock())
    async with platform.database.read() as tx:
        await deployments.found(tx, key)
        windows = await measures.read_windows(tx, str(key), since=since, until=until)
        loads = await measures.read_loads(tx, str(key), since=since, until=until)
    seconds = until - since
    answered = [kept for kept in windows if kept.of.via != MIRROR]
    copies = [kept.value for kept in windows if kept.of.via == MIRROR]
    by_revision = figures.grouped(((kept.of.revision, kept.value) for kept in answered), seconds=seconds)
    return Metrics(
        service=key.service,
        since=datetime.fromtimestamp(since, UTC),
        until=datetime.fromtimestamp(until, UTC),
        step_seconds=step,
        total=figures.figures(_merged(answered, since, until)),
        usage=usage_of(loads),
        revisions=tuple(RevisionFigures(revision=n, figures=each) for n, each in by_revision.items()),
        endpoints=dict(figures.grouped(((k.of.via, k.value) for k in answered if k.of.via), seconds=seconds)),
        mirrored=figures.figures(observation.merged(copies, seconds=seconds)) if copies else None,
        points=figures.points(
            figures.steps(since, until, step),
            lambda begin, end: _merged(answered, begin, end),
            lambda begin, end: usage_of(k for k in loads if begin <= k.at < end),
        ),
        replicas=tuple(
            ReplicaFigures(
                replica=replica,
                revision=load.revision,
                requests=load.requests,
                memory_peak_bytes=load.memory_peak_bytes,
                usage=load.usage(),
            )
            for replica, load in by_replica(loads).items()
        ),
    )


def _merged(found: Iterable[Kept[Window]], since: float, until: float) -> Window:
    inside = (kept.value for kept in found if since <= kept.at < until)
    return observation.merged(inside, seconds=until - since)
