"""Who answers for whom now: what decides how requests are divided, read from the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.control.platform import Platform
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.traffic import Part
from modelyard.domain.traffic_spec import EndpointSpec
from modelyard.gateway import routes, sharing
from modelyard.store import Snapshot, deployments, endpoints
from modelyard.store.endpoints import Wish

NOTHING = Wish(spec=EndpointSpec())
"""Of an endpoint of which nothing was ever said."""


async def present(tx: Snapshot, project: str) -> Sequence[Deployment]:
    """Every deployment of a project, by service."""
    page = await deployments.list(tx, project, limit=1000)
    found = [*page.items]
    while page.next:
        page = await deployments.list(tx, project, limit=1000, after=page.next)
        found += page.items
    return found


async def parts(platform: Platform, tx: Snapshot, key: Key) -> tuple[Part, ...]:
    """How the requests to one deployment are divided; empty for one that is being removed."""
    around = routes.surroundings(await present(tx, key.project), domain=platform.domain)
    wish = await endpoints.get(tx, key)
    return sharing.parts(str(key), wish.spec, around) if str(key) in around.routes else ()


async def everywhere(
    platform: Platform, tx: Snapshot, known: Sequence[Deployment]
) -> Iterator[tuple[Key, Part]]:
    """Each part of the requests to these deployments, which are all there are."""
    wishes = await endpoints.all(tx)
    around = routes.surroundings(known, domain=platform.domain)
    return (
        (each.key, part)
        for each in known
        if str(each.key) in around.routes
        for part in sharing.parts(str(each.key), wishes.get(str(each.key), NOTHING).spec, around)
    )
