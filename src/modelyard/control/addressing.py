"""Giving a deployment what it asks for as its address: a host that it may have, ports, and a claim."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from modelyard.control.platform import Platform
from modelyard.domain import access, hosts, ports, takeover
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key
from modelyard.domain.errors import Conflict, FieldError, Unavailable
from modelyard.domain.project import Project
from modelyard.gateway import routes
from modelyard.store import Snapshot, Transaction, deployments, projects

_HOST = "spec.address.host"
_LOOK_SECONDS = 2.0


async def require_host(
    platform: Platform, tx: Snapshot, actor: Actor, key: Key, spec: DeploymentSpec
) -> tuple[Key, ...]:
    """Who would go offline for the deployment, which may have the host that it asks for.

    Raises Invalid for the platform's own names, and Conflict for a host in a project where the actor may not
    take services offline, as the host's new owner would.
    """
    host = spec.address.wish.domain
    if not host:
        return ()
    every = await all_projects(tx)
    domains = platform.sites.domains(every)
    site = platform.sites.of(key.project)
    hosts.require_free(
        host,
        _HOST,
        own=routes.below(key.project, domain=site.domain),
        domains=frozenset({platform.domain, *domains.values()}),
        reserved=frozenset({"localhost", platform.domain, urlsplit(platform.public_url).hostname or ""}),
    )
    wanted = routes.addresses(key, domain=site.domain, address=spec.address).host
    losers = []
    for other in await deployments.all(tx):
        theirs = platform.sites.of(other.project).domain
        taken = routes.addresses(other.key, domain=theirs, address=other.spec.address).host == wanted
        if taken and other.key != key and other.spec.replicas and not other.claim.yielded_to:
            losers.append(other.key)
        if taken and not access.may(actor, Verb.OPERATE, Resource(project=other.project)):
            message = f"{wanted} is in use by a service that you may not take offline; choose another host"
            raise Conflict(f"{_HOST}: {message}", errors=(FieldError(_HOST, message),))
    return tuple(losers) if spec.replicas else ()


async def settle(platform: Platform, tx: Transaction, deployment: Deployment) -> Deployment:
    """The deployment as just stored by a user's wish, with its claim to the host and the ports it lacks.

    Raises Conflict when no port is left.
    """
    settled = takeover.claimed(deployment, now=platform.clock())
    count = settled.spec.address.port_count
    if count > len(settled.ports):
        settled = await _with_ports(platform, tx, settled, count)
    if settled != deployment:
        await deployments.keep(tx, settled)
    return settled


async def all_projects(tx: Snapshot) -> Sequence[Project]:
    """Every project."""
    page = await projects.list(tx, limit=1000)
    found = list(page.items)
    while page.next:
        page = await projects.list(tx, limit=1000, after=page.next)
        found += page.items
    return found


async def _with_ports(platform: Platform, tx: Transaction, deployment: Deployment, count: int) -> Deployment:
    others = [
        port for other in await deployments.all(tx) if other.id != deployment.id for port in other.ports
    ]
    taken = frozenset(others) | await _busy(platform) | frozenset(platform.door.ports)
    given = ports.allocate(
        deployment.id, count, given=deployment.ports, taken=taken, within=platform.port_range
    )
    return replace(deployment, ports=given)


async def _busy(platform: Platform) -> frozenset[int]:
    """Ports that others than services have; raises Unavailable soon: nobody else writes meanwhile."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await platform.gateway.busy_ports()
    except TimeoutError as error:
        message = f"which ports are free was not known within {_LOOK_SECONDS:g} s; try again"
        raise Unavailable(message, retry_after_seconds=5.0) from error
