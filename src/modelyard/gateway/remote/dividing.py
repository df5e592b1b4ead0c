"""What each of several routers enforces of a limit that is meant for all of them together: pure.

Routers do not ask one another before they let a request pass. Each enforces an even part, so that together
they let as much pass as the limit says, while the requests are spread over them as evenly as connections are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modelyard.domain.endpoint import Route, Share, Waking
from modelyard.domain.limits import Limits


def divided(routes: Iterable[Route], routers: int) -> tuple[Route, ...]:
    """The routes as each of so many routers should work by them."""
    if routers <= 1:
        return tuple(routes)
    return tuple(_route(route, routers) for route in routes)


def _route(route: Route, routers: int) -> Route:
    return replace(
        route,
        limits=part(route.limits, routers),
        shares=tuple(_share(share, routers) for share in route.shares),
        mirrors=tuple(replace(m, share=_share(m.share, routers)) for m in route.mirrors),
    )


def _share(share: Share, routers: int) -> Share:
    return replace(share, limits=part(share.limits, routers), waking=_waking(share.waking, routers))


def part(limits: Limits, routers: int) -> Limits:
    """One router's part. What counts whole requests is rounded up: nobody's part may be nothing."""
    return replace(
        limits,
        requests_per_second=limits.requests_per_second / routers,
        burst=_up(limits.burst, routers),
        concurrency=_up(limits.concurrency, routers),
        pending=_up(limits.pending, routers),
    )


def _waking(waking: Waking | None, routers: int) -> Waking | None:
    return waking and replace(waking, requests=_up(waking.requests, routers))


def _up(count: int, routers: int) -> int:
    return -(-count // routers)
