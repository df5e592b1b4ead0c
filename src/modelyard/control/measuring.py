"""What services did lately, from what was kept of it; for gates, for scaling, and for people.

An interval belongs to a question when it begins in [since, until): windows of adjacent times share no
request. Times are known to ten seconds for an hour, then to a minute for a day, then to an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.control.platform import Platform
from modelyard.domain import observation
from modelyard.domain.deployment import Key
from modelyard.domain.observation import MIRROR, Load, Usage, Window
from modelyard.store import measures
from modelyard.store.measures import Kept


async def window(
    platform: Platform,
    key: Key,
    *,
    revision: int | None = None,
    mirrored: bool = False,
    since: float,
    until: float,
) -> Window:
    """What the service, or one revision of it, answered; `mirrored` is about copies instead.

    Revision 0 is what never reached a replica: refused, or with none ready.
    """
    async with platform.database.read() as tx:
        found = await measures.read_windows(tx, str(key), since=since, until=until)
    return observation.merged(
        (
            kept.value
            for kept in found
            if (kept.of.via == MIRROR) == mirrored and revision in (None, kept.of.revision)
        ),
        seconds=until - since,
    )


async def by_revision(platform: Platform, key: Key, *, since: float, until: float) -> Mapping[int, Window]:
    """What each revision answered, without copies; 0 is what never reached a replica."""
    async with platform.database.read() as tx:
        found = await measures.read_windows(tx, str(key), since=since, until=until)
    groups: dict[int, list[Window]] = {}
    for kept in found:
        if kept.of.via != MIRROR:
            groups.setdefault(kept.of.revision, []).append(kept.value)
    return {n: observation.merged(each, seconds=until - since) for n, each in sorted(groups.items())}


async def usage(platform: Platform, key: Key, *, since: float, until: float) -> Usage:
    """What all replicas of the service used together, on average over the part that was watched."""
    async with platform.database.read() as tx:
        return usage_of(await measures.read_loads(tx, str(key), since=since, until=until))


async def usages(platform: Platform, key: Key, *, since: float, until: float) -> Mapping[str, Usage]:
    """What each replica used on average while it was watched, by name."""
    async with platform.database.read() as tx:
        found = await measures.read_loads(tx, str(key), since=since, until=until)
    return {replica: load.usage() for replica, load in by_replica(found).items()}


def usage_of(loads: Iterable[Kept[Load]]) -> Usage:
    """All loads together, on average; in each interval the replica that was watched longest counts as all."""
    found = tuple(loads)
    longest: dict[int, float] = {}
    for kept in found:
        longest[kept.at] = max(longest.get(kept.at, 0.0), kept.value.seconds)
    return observation.together((kept.value for kept in found), seconds=sum(longest.values()))


def by_replica(found: Iterable[Kept[Load]]) -> dict[str, Load]:
    """All loads of each replica, one after the other, by its name."""
    sums: dict[str, Load] = {}
    for kept in found:
        sums[kept.of] = sums.get(kept.of, Load()) + kept.value
    return dict(sorted(sums.items()))
