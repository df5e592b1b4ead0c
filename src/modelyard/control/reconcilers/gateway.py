"""Keep the gateway's routes as they should be: every deployment's ready replicas, and who may call them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.control import addressing, kinds, secrets, takeovers
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import routing
from modelyard.domain.access import Actor, Member, Resource, Token, User, Verb, may
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.endpoint import AccessKey, Route
from modelyard.domain.takeover import Settlement
from modelyard.gateway import routes
from modelyard.store import Snapshot, endpoints, members, meta, tokens, users, work

SETTLING = Again(0.1)
SLOW = Again(1.0)
"""While somebody else's gateway takes long."""
REST = Again(60.0)
_LONG_SECONDS = 15.0
_STUBBORN_SECONDS = 2.0
"""A gateway that has not taken up a publication for so long is given it again."""

_SPARING = 2.0
"""A look is repeated only after so many times what the last one took."""
_LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Holder:
    """A user's token that opens something."""

    key: AccessKey
    actor: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the database says the gateway should have."""

    deployments: Sequence[Deployment]
    settled: Mapping[str, Settlement]
    """Who has each host."""
    routes: tuple[Route, ...]
    intended: frozenset[str]
    publisher: str

    @property
    def names(self) -> frozenset[str]:
        """The replicas in the routes."""
        return frozenset(target.replica for route in self.routes for target in route.targets)


class Routes:
    """The reconciler; remembers what it published last, so that only changes are published."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._published: tuple[Route, ...] | None = None
        self._published_at = 0.0
        self._routed: dict[str, str] = {}
        self._own_keys: dict[tuple[Key, int, int], AccessKey] = {}
        self._not_before = 0.0
        self._said: dict[str, Mapping[str, str]] = {}
        """By fact: what was reported of services last."""
        self._hosts: frozenset[str] = frozenset()

    async def reconcile(self, _: str) -> Again:
        """Publish what changed; look again soon while the gateway has not taken it up.

        With many deployments a look costs much, so that changes which come one after another share one.
        """
        clock = self._platform.clock
        began = clock()
        if 0 < self._not_before - began <= _LONGEST_WAIT_SECONDS:
            await asyncio.sleep(self._not_before - began)
            began = clock()
        try:
            return await self._look()
        finally:
            self._not_before = clock() + _SPARING * (clock() - began)

    async def _look(self) -> Again:
        platform = self._platform
        wish = await self._wish()
        if not wish.names <= wish.intended or wish.publisher != platform.identity:
            await self._intend(wish.names | wish.intended)
            if wish.publisher != platform.identity:
                self._published = None
            # Replicas that were ready before the intention was visible may be leaving by now.
            wish = await self._wish()
            if not wish.names <= wish.intended:
                return Again(0.0)
        routed = await platform.gateway.routed()
        if wish.routes != self._published or self._is_stubborn(wish.names, routed):
            self._published = None
            await platform.gateway.publish(wish.routes)
            self._published, self._published_at = wish.routes, platform.clock()
            routed = await platform.gateway.routed()
        if wish.names != wish.intended:
            await self._intend(wish.names)
        relied = routed - platform.gateway.pending()
        moved = await self._hand_over(wish, relied)
        await self._report_unopened(wish.routes)
        await self._report_refused(wish.routes)
        self._tell(wish.routes, relied)
        if relied == wish.names and not moved:
            return REST
        return SETTLING if platform.clock() - self._published_at < _LONG_SECONDS else SLOW

    def _tell(self, published: tuple[Route, ...], routed: frozenset[str]) -> None:
        """Hint at the deployments whose replicas the gateway has taken up or let go."""
        shares = (share for route in published for share in route.everywhere)
        owners = {target.replica: share.service for share in shares for target in share.targets}
        changed = self._routed.keys() ^ routed
        owners |= {name: owner for name, owner in self._routed.items() if name in changed}
        for key in sorted({owners[name] for name in changed if name in owners}):
            self._platform.hint(kinds.DEPLOYMENT, key)
        self._routed = {name: owners[name] for name in routed if name in owners}

    async def _hand_over(self, wish: _Wish, routed: frozenset[str]) -> bool:
        """Hosts lead to their owners now: those who had them before go offline. Whether any had to.

        One that slept has no replica whose end would make the routes due: it must not be woken any more.
        """
        moved = False
        by_name = {route.name: route for route in wish.routes}
        for settlement in wish.settled.values():
            owner = by_name[str(settlement.owner)]
            if not settlement.quiet and routed.issuperset(t.replica for t in owner.targets):
                await takeovers.carry_out(self._platform, settlement, wish.deployments)
                moved = True
        return moved

    async def _report_unopened(self, published: Sequence[Route]) -> None:
        """Have it said of a service when one of its ports could not be opened, and when it could at last."""
        unopened = self._platform.gateway.unopened()
        said = {route.name: unopened[port] for route in published for port in route.ports if port in unopened}
        await self._report(kinds.GATEWAY_UNOPENED, said)

    async def _report_refused(self, published: Sequence[Route]) -> None:
        """Have it said of a service when a gateway of the cluster's does not lead to it as it should."""
        names = {route.name for route in published}
        refused = self._platform.gateway.refused()
        await self._report(kinds.GATEWAY_REFUSED, {name: refused[name] for name in names & refused.keys()})

    async def _report(self, fact: str, said: Mapping[str, str]) -> None:
        before = self._said.get(fact)
        if said == before:
            return
        known = before or {}
        news = {name for name in said.keys() | known.keys() if said.get(name) != known.get(name)}
        async with self._platform.database.begin() as tx:
            await meta.set(tx, fact, json.dumps(said))
            for name in sorted(news):
                await work.put(tx, kinds.DEPLOYMENT, name, due_at=self._platform.clock())
        self._said[fact] = said

    def _is_stubborn(self, names: frozenset[str], routed: frozenset[str]) -> bool:
        age = self._platform.clock() - self._published_at
        return routed != names and not 0 <= age < _STUBBORN_SECONDS

    async def _wish(self) -> _Wish:
        platform = self._platform
        async with platform.database.read() as tx:
            found = await routing.everything(tx)
            every = await addressing.all_projects(tx)
            domains = platform.sites.domains(every)
            people = await _people(tx, now=platform.clock())
            wishes = await endpoints.all(tx)
            intended = await routing.intended(tx)
            publisher = await meta.get(tx, kinds.GATEWAY_PUBLISHER) or ""
        settled = routes.settled(found, domain=platform.domain, domains=domains)
        there = {(d.key, d.id, d.token_serial) for d in found}
        self._own_keys = {identity: known for identity, known in self._own_keys.items() if identity in there}
        keys = self._access_keys(found, people)
        keys = {key: (*some, *self._inherited(key, settled, found)) for key, some in keys.items()}
        self._want_certificate(settled.keys())
        wanted = routes.desired_routes(
            found,
            keys=keys,
            domain=platform.domain,
            domains=domains,
            hosts=settled,
            endpoints={name: wish.spec for name, wish in wishes.items()},
        )
        return _Wish(
            deployments=found,
            settled=settled,
            routes=routes.isolated(wanted, {each.name for each in every if each.spec.network.isolated}),
            intended=intended,
            publisher=publisher,
        )

    def _access_keys(
        self, found: Sequence[Deployment], people: Sequence[_Holder]
    ) -> dict[Key, tuple[AccessKey, ...]]:
        """Who may call each deployment: its own token, and tokens of users who may infer in its project."""
        shared = {
            project: tuple(h.key for h in people if may(h.actor, Verb.INFER, Resource(project=project)))
            for project in {deployment.project for deployment in found}
        }
        return {d.key: (self._own_key(d), *shared[d.project]) for d in found}

    def _inherited(
        self, key: Key, settled: Mapping[str, Settlement], found: Sequence[Deployment]
    ) -> Iterator[AccessKey]:
        """The tokens of services that had this one's host, or want it: who called them there calls it now."""
        had = {other for s in settled.values() if s.owner == key for other in s.rivals}
        yield from (self._own_key(deployment) for deployment in found if deployment.key in had)

    def _want_certificate(self, hosts: Iterable[str]) -> None:
        """Have the certificate looked at when there are other hosts than before."""
        if self._hosts != frozenset(hosts):
            self._hosts = frozenset(hosts)
            self._platform.hint(kinds.CERTIFICATE, kinds.ALL)

    def _own_key(self, deployment: Deployment) -> AccessKey:
        identity = (deployment.key, deployment.id, deployment.token_serial)
        known = self._own_keys.get(identity)
        if known is None:
            token = secrets.service_token(self._platform.master_key, deployment)
            known = AccessKey(sha256=secrets.digest(token), subject=f"service:{deployment.key}")
            self._own_keys[identity] = known
        return known

    async def _intend(self, names: frozenset[str]) -> None:
        async with self._platform.database.begin() as tx:
            await routing.intend(tx, names)
            await meta.set(tx, kinds.GATEWAY_PUBLISHER, self._platform.identity)


async def _people(tx: Snapshot, *, now: float) -> tuple[_Holder, ...]:
    active = await tokens.active(tx, now=now)
    if not active:
        return ()
    roles = await members.list(tx)
    accounts = {user.name: user for user in await _accounts(tx)}
    return tuple(sorted(_holders(active, accounts, roles), key=lambda h: h.key.sha256))


async def _accounts(tx: Snapshot) -> list[User]:
    page = await users.list(tx, limit=1000)
    found = list(page.items)
    while page.next:
        page = await users.list(tx, limit=1000, after=page.next)
        found += page.items
    return found


def _holders(
    active: Sequence[tuple[str, Token]], accounts: dict[str, User], roles: Sequence[Member]
) -> Iterator[_Holder]:
    for sha256, token in active:
        user = accounts.get(token.user)
        if user is None or user.disabled:
            continue
        expires_at = int(token.expires_at.timestamp()) if token.expires_at else 0
        actor = Actor(
            name=user.name,
            administrator=user.administrator,
            roles={m.project: m.role for m in roles if m.user == user.name},
            scope=frozenset(token.scope) if token.scope else None,
        )
        yield _Holder(AccessKey(sha256=sha256, subject=user.name, expires_at=expires_at), actor)
