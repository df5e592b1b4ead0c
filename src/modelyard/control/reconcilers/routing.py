"""Which replicas the gateway has or may come to have, as the database knows it.

A replica may be stopped only when no request can reach it any more. The running gateway says what it
has now, but not what a publication that is under way will give it. So whoever publishes first writes down
what it may publish, then reads again which replicas are ready, and only publishes what is both; and whoever
stops a replica has first recorded that it is not ready, and then looks at what is written down.
"""

from __future__ import annotations

import json

from modelyard.control import kinds
from modelyard.domain.deployment import Deployment
from modelyard.gateway import routes
from modelyard.store import Snapshot, Transaction, deployments, meta, projects

_PART = 100


async def intended(tx: Snapshot) -> frozenset[str]:
    """Replicas that a finished or coming publication may hold."""
    return frozenset(json.loads(await meta.get(tx, kinds.GATEWAY_INTENDED) or "[]"))


async def intend(tx: Transaction, names: frozenset[str]) -> None:
    """Write down what may be published from now on."""
    await meta.set(tx, kinds.GATEWAY_INTENDED, json.dumps(sorted(names)))


def recorded(deployment: Deployment) -> frozenset[str]:
    """Replicas that whoever reads the database now would publish."""
    return frozenset(r.name for r in deployment.status.replicas if routes.serves(r))


async def everything(tx: Snapshot) -> list[Deployment]:
    """Every deployment, read in parts, so that others get their turn in between."""
    found: list[Deployment] = []
    names = await projects.list(tx, limit=_PART)
    while True:
        for project in names.items:
            found += await _of_project(tx, project.name)
        if not names.next:
            return found
        names = await projects.list(tx, limit=_PART, after=names.next)


async def _of_project(tx: Snapshot, project: str) -> list[Deployment]:
    page = await deployments.list(tx, project, limit=_PART)
    found = list(page.items)
    while page.next:
        page = await deployments.list(tx, project, limit=_PART, after=page.next)
        found += page.items
    return found
