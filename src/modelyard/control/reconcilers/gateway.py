"""Keep the gateway's routes as they should be: every deployment's ready replicas, and who may call them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.control import kinds, secrets
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import routing
from modelyard.domain.access import Actor, Member, Resource, Token, User, Verb, may
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.endpoint import AccessKey, Route
from modelyard.gateway.routes import desired_routes
from modelyard.store import Snapshot, deployments, members, meta, tokens, users

SETTLING = Again(0.1)
REST = Again(60.0)
_STUBBORN_SECONDS = 2.0
"""A gateway that has not taken up a publication for so long is given it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the database says the gateway should have."""

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

    async def reconcile(self, _: str) -> Again:
        """Publish what changed; look again soon while the gateway has not taken it up."""
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
        return REST if routed == wish.names else SETTLING

    def _is_stubborn(self, names: frozenset[str], routed: frozenset[str]) -> bool:
        age = self._platform.clock() - self._published_at
        return routed != names and not 0 <= age < _STUBBORN_SECONDS

    async def _wish(self) -> _Wish:
        platform = self._platform
        async with platform.database.read() as tx:
            found = await deployments.all(tx)
            people = await _people(tx, now=platform.clock())
            intended = await routing.intended(tx)
            publisher = await meta.get(tx, kinds.GATEWAY_PUBLISHER) or ""
        keys = access_keys(found, people, master_key=platform.master_key)
        return _Wish(
            routes=desired_routes(found, keys=keys, domain=platform.domain),
            intended=intended,
            publisher=publisher,
        )

    async def _intend(self, names: frozenset[str]) -> None:
        async with self._platform.database.begin() as tx:
            await routing.intend(tx, names)
            await meta.set(tx, kinds.GATEWAY_PUBLISHER, self._platform.identity)


@dataclass(frozen=True, slots=True)
class Holder:
    """A user's token that opens something."""

    key: AccessKey
    actor: Actor


def access_keys(
    found: Sequence[Deployment], people: Sequence[Holder], *, master_key: bytes
) -> dict[Key, tuple[AccessKey, ...]]:
    """Who may call each deployment: its own token, and tokens of users who may infer in its project."""
    projects = {deployment.project for deployment in found}
    shared = {
        project: tuple(h.key for h in people if may(h.actor, Verb.INFER, Resource(project=project)))
        for project in projects
    }
    return {d.key: (_own(d, master_key), *shared[d.project]) for d in found}


def _own(deployment: Deployment, master_key: bytes) -> AccessKey:
    token = secrets.service_token(master_key, deployment)
    return AccessKey(sha256=secrets.digest(token), subject=f"service:{deployment.key}")


async def _people(tx: Snapshot, *, now: float) -> tuple[Holder, ...]:
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
) -> Iterator[Holder]:
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
        yield Holder(AccessKey(sha256=sha256, subject=user.name, expires_at=expires_at), actor)
