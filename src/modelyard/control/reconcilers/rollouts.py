"""What a judged rollout's next decision needs: what both revisions did since it was last looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import floor

from modelyard.control import measuring
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import comparing, replica_metrics
from modelyard.domain import observation, progress
from modelyard.domain.comparison import Report
from modelyard.domain.deployment import Deployment, DeploymentStatus, Key, Phase, Replica
from modelyard.domain.gates import MetricGate
from modelyard.domain.judging import Seen
from modelyard.domain.observation import KEEP, Window
from modelyard.domain.rollout import remember
from modelyard.domain.rollout_status import Counts, RolloutStatus, Tail

HISTORY_SECONDS = 600.0
"""So much of what the old revision did before tells what is usual."""

_STEP = KEEP[0][0]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found out."""

    seen: Seen | None
    report: Report | None
    """Of the comparison, with what is new in it; None when nothing was compared."""


async def advanced(
    platform: Platform, deployment: Deployment, observed: Sequence[Replica], *, now: float
) -> tuple[DeploymentStatus, Report | None]:
    """The deployment's status with its rollout as far as it is now, and what comparing has shown."""
    rollout, look = progress.active(deployment), Look(None, None)
    if rollout is not None and progress.is_due(deployment, now=now):
        look = await _look(platform, deployment, rollout, observed, now)
    replicas = remember(deployment.status.replicas, observed, now=now)
    return progress.advance(deployment, replicas, look.seen, now=now), look.report


async def _look(
    platform: Platform,
    deployment: Deployment,
    rollout: RolloutStatus,
    observed: Sequence[Replica],
    now: float,
) -> Look:
    key = deployment.key
    tail = await _counted(platform, key, rollout, floor(now / _STEP - 1) * _STEP, now)
    seen = Seen(bounds=observation.BOUNDS[:-1], tail=tail)
    if rollout.tail is None:
        since, base = now - HISTORY_SECONDS, rollout.base
        history = await measuring.window(platform, key, revision=base, since=since, until=now)
        seen = replace(seen, before=_counts(history))
    else:
        both = await _counted(platform, key, rollout, rollout.tail.since, now)
        seen = replace(seen, new=_less(both.new, rollout.tail.new), old=_less(both.old, rollout.tail.old))
    names = [g.name for g in deployment.spec.strategy.judges.values() if isinstance(g, MetricGate)]
    if names:
        ready = [r for r in observed if r.revision == rollout.revision and r.phase is Phase.READY]
        seen = replace(seen, metrics=await replica_metrics.means(platform, key, ready, names))
    if deployment.spec.strategy.mirror:
        compared = await comparing.compared(platform, deployment, rollout, observed, now)
        return Look(replace(seen, agreements=compared.agreements), compared.report)
    return Look(seen, None)


async def _counted(platform: Platform, key: Key, rollout: RolloutStatus, since: float, now: float) -> Tail:
    """What both revisions did; copies are requests to the new one like any other."""
    windows = [
        await measuring.window(platform, key, revision=revision, mirrored=mirrored, since=since, until=now)
        for revision, mirrored in ((rollout.revision, False), (rollout.revision, True), (rollout.base, False))
    ]
    new = observation.merged(windows[:2])
    return Tail(since=since, new=_counts(new), old=_counts(windows[2]))


def _counts(window: Window) -> Counts:
    histogram = window.histogram
    length = max((n + 1 for n, count in enumerate(histogram) if count), default=0)
    return Counts(requests=window.requests, errors=window.errors, histogram=histogram[:length])


def _less(whole: Counts, part: Counts) -> Counts:
    """What came since; measures that were forgotten meanwhile count for nothing."""
    return Counts(
        requests=max(whole.requests - part.requests, 0),
        errors=max(whole.errors - part.errors, 0),
        histogram=tuple(max(a - b, 0) for a, b in zip_longest(whole.histogram, part.histogram, fillvalue=0)),
    )
