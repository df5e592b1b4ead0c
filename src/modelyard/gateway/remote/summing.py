"""What several routers counted, as one reading: pure.

Each router's numbers stay apart, under a name that changes when its counting begins anew. So whoever compares
two readings sees for each of them how far it has come, and a router that starts or goes makes nothing fall.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Copies

EPOCH = "routers"
"""Of every reading of several: what began anew is told from what was before by the tallies' sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one router counted."""

    router: str
    reading: Reading
    now: bool
    """Whether it was said just now; one that does not answer has what it said before."""


def together(counted: Iterable[Counted]) -> Reading:
    """All of them as one reading."""
    tallies, inflight = [], Counter[str]()
    for each in counted:
        source = f"{each.router} {each.reading.epoch}"
        tallies += [replace(tally, source=source) for tally in each.reading.tallies]
        if each.now:
            inflight.update(each.reading.inflight)
    return Reading(
        epoch=EPOCH, tallies=tuple(sorted(tallies, key=lambda tally: tally.name)), inflight=dict(inflight)
    )


def copies(counted: Iterable[Iterable[Copies]]) -> tuple[Copies, ...]:
    """What each mirror was sent by all of them."""
    found: dict[tuple[str, str], Copies] = {}
    for each in (copies for some in counted for copies in some):
        before = found.get((each.route, each.share), Copies(route=each.route, share=each.share))
        found[each.route, each.share] = replace(
            before, sent=before.sent + each.sent, dropped=before.dropped + each.dropped
        )
    return tuple(found[key] for key in sorted(found))


def waiting(counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """How many requests wait for each service at all of them."""
    found: Counter[str] = Counter()
    for each in counted:
        found.update(each)
    return dict(found)
