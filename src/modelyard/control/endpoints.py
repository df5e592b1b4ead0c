"""Endpoints: where services answer, how their requests are divided, and what the gateway counted there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from modelyard.control import authorise, division, kinds, missing, operations, views
from modelyard.control.deployments import KIND, allowed, found
from modelyard.control.platform import Platform
from modelyard.domain import tallies
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.endpoint import Endpoint, MirrorView, ShareView
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.domain.traffic import Part
from modelyard.domain.traffic_spec import EndpointSpec, Ref, parse
from modelyard.gateway import routes, sharing
from modelyard.gateway.base import Copies
from modelyard.store import Snapshot, deployments, projects, readings, revisions, work
from modelyard.store import endpoints as store
from modelyard.store.endpoints import Wish


@dataclass(frozen=True, slots=True)
class _Counted:
    """What ever came to each route, and the copies that the gateway made since it started."""

    requests: Mapping[str, int]
    copies: Mapping[tuple[str, str], Copies]


async def list(platform: Platform, actor: Actor, project: str) -> tuple[Endpoint, ...]:
    """Every endpoint of the project, by service."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        present = await division.present(tx, project)
        wishes = await store.all(tx, project)
    around = routes.surroundings(present, domain=platform.domain)
    counted = await _counted(platform)
    return tuple(
        _view(platform, d, wishes.get(str(d.key), division.NOTHING), around, counted) for d in present
    )


async def get(platform: Platform, actor: Actor, key: Key) -> Endpoint:
    """One endpoint; raises NotFound."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        deployment = await found(tx, key)
        present = await division.present(tx, key.project)
        wish = await store.get(tx, key)
    around = routes.surroundings(present, domain=platform.domain)
    return _view(platform, deployment, wish, around, await _counted(platform))


async def apply(
    platform: Platform, actor: Actor, key: Key, spec: EndpointSpec, *, expected: int | None = None
) -> Endpoint:
    """Say how the requests are divided. The same spec again changes nothing.

    Raises Invalid for a place that does not exist and was not named before, NotFound without a deployment,
    Conflict unless the generation is `expected`.
    """
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.begin() as tx:
        await operations.changeable(tx, key)
        before = await store.get(tx, key)
        if expected is not None and expected != before.generation:
            message = f"the endpoint is at generation {before.generation}, not at {expected}; read it again"
            raise Conflict(message, generation=before.generation)
        known = frozenset(
            ref for _, ref in before.spec.named()
        )  # removed since: no reason to refuse the rest
        wrong = [error async for error in _unknown(tx, key, spec, known)]
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)
        if spec != before.spec:
            await store.put(tx, key, spec, expected=before.generation)
            message = "; ".join(_said(key, spec))
            await operations.announce(platform, tx, actor, key, reason="TrafficChanged", message=message)
            await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    return await get(platform, actor, key)


async def _unknown(
    tx: Snapshot, key: Key, spec: EndpointSpec, known: frozenset[Ref]
) -> AsyncIterator[FieldError]:
    """Places that are new and do not exist, and a mirror that would double the service's own requests."""
    for path, ref in spec.named():
        if path.startswith("spec.mirrors") and ref == Ref(key.service):
            yield FieldError(path, "is the service itself; name another one, or one revision of it")
            continue
        if ref in known:
            continue
        there = Key.parse(ref.service, project=key.project, path=path)
        deployment = await deployments.get(tx, there)
        if deployment is None or deployment.deleting:
            yield FieldError(path, f"there is no deployment {ref.service}; `modelyard status` lists them")
        elif ref.revision is not None and await revisions.get(tx, there, ref.revision) is None:
            lists = f"`modelyard history {ref.service}` lists them"
            yield FieldError(path, f"{ref.service} has no revision {ref.revision}; {lists}")


async def _counted(platform: Platform) -> _Counted:
    """All requests by route: those that were kept, and what the gateway counted since."""
    async with platform.database.read() as tx:
        last = await readings.last(tx)
    reading = await platform.gateway.statistics()  # after the last one, so that it is no older
    requests = Counter(last.totals)
    if reading is not None:
        known = last.tallies if last.epoch == reading.epoch else {}
        for tally in reading.tallies:
            requests[tally.route] += tallies.grown(known.get(tally.name), tally).requests
    return _Counted(requests, {(c.route, c.share): c for c in await platform.gateway.copies()})


def _view(
    platform: Platform,
    deployment: Deployment,
    wish: Wish,
    around: sharing.Surroundings,
    counted: _Counted,
) -> Endpoint:
    view = views.view(platform, deployment)
    name = str(deployment.key)
    routed = name in around.routes
    return Endpoint(
        service=view.service,
        url=view.url,
        addresses=view.addresses,
        requests=counted.requests.get(name, 0),
        generation=wish.generation,
        spec=wish.spec,
        shares=tuple(_share(part) for part in sharing.parts(name, wish.spec, around)) if routed else (),
        mirrors=tuple(_mirrors(deployment.key, wish.spec, around, counted)),
        routing=platform.gateway.plan(name),
    )


def _share(part: Part) -> ShareView:
    return ShareView(
        to=str(part.ref), asked=round(float(part.asked), 2), weight=part.weight, reason=part.reason
    )


def _mirrors(
    key: Key, spec: EndpointSpec, around: sharing.Surroundings, counted: _Counted
) -> Iterator[MirrorView]:
    for mirror in spec.mirrors:
        share = around.share(key.project, parse(mirror.to))
        copies = counted.copies.get((str(key), share.name), Copies(route=str(key), share=share.name))
        yield MirrorView(
            to=mirror.to,
            percent=mirror.percent,
            sent=copies.sent,
            dropped=copies.dropped,
            reason="" if share.targets else "no replica is ready",
        )


def _said(key: Key, spec: EndpointSpec) -> Iterator[str]:
    """A spec in words."""
    yield ", ".join([*(f"{to} {percent} %" for to, percent in spec.weights.items()), f"rest {key.service}"])
    yield from (f"copies of {m.percent} % to {m.to}" for m in spec.mirrors)
    yield from (f"{p.header or p.cookie}: {p.value} to {p.to}" for p in spec.pins)
    if spec.sticky:
        yield f"sticky by {spec.sticky.by} {spec.sticky.key}".rstrip()
