"""Who is asking: tokens, sessions, passwords and one-time links become actors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.control import authorise, missing, secrets, tokens
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Role, User, Verb
from modelyard.domain.errors import Unauthenticated
from modelyard.store import Snapshot, Transaction, events, links, members, sessions, users
from modelyard.store import tokens as token_store

KIND = "login"
NOBODY = Actor(name="")
"""A caller who brought no token."""

_TOUCH_SECONDS = 300.0
"""How exact a token's last use is kept; finer would write to the database on every request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser's way in."""

    user: str
    secret: str
    """The cookie's value; only its hash is stored."""
    expires_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A way in that works once."""

    user: str
    url: str
    expires_at: float


async def authenticate(platform: Platform, secret: str) -> Actor:
    """The actor behind a user's token or a session; raises Unauthenticated for anything else."""
    now, sha256 = platform.clock(), secrets.digest(secret)
    async with platform.database.read() as tx:
        if secret.startswith(secrets.SESSION):
            user = await sessions.find(tx, sha256, now=now)
            return await _actor(tx, user, scope=None)
        token = await token_store.find(tx, sha256)
        if token is None or token.revoked:
            raise Unauthenticated("the token is not valid; log in again with `modelyard login`")
        if token.expires_at is not None and token.expires_at.timestamp() <= now:
            raise Unauthenticated("the token has expired; log in again with `modelyard login`")
        actor = await _actor(tx, token.user, scope=frozenset(token.scope) if token.scope else None)
    if token.last_used_at is None or now - token.last_used_at.timestamp() > _TOUCH_SECONDS:
        async with platform.database.begin() as change:
            await token_store.touch(change, token.id, at=now)
    return actor


async def whoami(platform: Platform, actor: Actor) -> User:
    """The account in use; a limited token may ask too, whatever it is limited to."""
    whole = replace(actor, scope=None)
    await authorise.require(platform, whole, Verb.SELF, Resource(owner=actor.name), kind=KIND)
    async with platform.database.read() as tx:
        found = await users.get(tx, actor.name)
    if found is None:
        raise missing.user(actor.name)
    return found


async def open_session(platform: Platform, user: str, password: str) -> Session:
    """Log a browser in with a password; raises Unauthenticated, without telling what was wrong."""
    await _prove(platform, user, password)
    async with platform.database.begin() as tx:
        return await _session(platform, tx, user, "password")


async def issue_token(platform: Platform, user: str, password: str, *, days: float = 30.0) -> tokens.Issued:
    """Log a program in with a password: a token of its own that expires; raises Unauthenticated."""
    actor = await _prove(platform, user, password)
    return await tokens.issue(platform, actor, user, tokens.TokenRequest(description="login", days=days))


async def logout(platform: Platform, secret: str) -> None:
    """End a session; nothing for one that has ended."""
    async with platform.database.begin() as tx:
        await sessions.delete(tx, secrets.digest(secret))


async def make_link(platform: Platform, actor: Actor, *, user: str = "") -> Link:
    """A URL that logs a browser in once, within minutes; for oneself, or by an administrator for anybody."""
    whose = user or actor.name
    await authorise.require(platform, actor, Verb.SELF, Resource(owner=whose), kind=KIND, name=whose)
    secret = secrets.LINK + platform.random_token()
    expires_at = platform.clock() + platform.link_seconds
    async with platform.database.begin() as tx:
        if await users.get(tx, whose) is None:
            raise missing.user(whose)
        await links.insert(tx, sha256=secrets.digest(secret), user=whose, expires_at=expires_at)
        await authorise.note(platform, tx, actor, kind=KIND, name=whose, reason="LinkMade")
    return Link(user=whose, url=f"{platform.public_url}/login/{secret}", expires_at=expires_at)


async def take_link(platform: Platform, secret: str) -> Session:
    """Exchange a link's secret for a session, once; raises Unauthenticated when it is used or expired."""
    async with platform.database.begin() as tx:
        user = await links.take(tx, secrets.digest(secret), now=platform.clock())
        if user is not None:
            await _actor(tx, user, scope=None)
            return await _session(platform, tx, user, "link")
    raise Unauthenticated(
        "the login link was used or has expired; make another with `modelyard login --link`"
    )


async def _prove(platform: Platform, user: str, password: str) -> Actor:
    async with platform.database.read() as tx:
        stored = await users.password_hash(tx, user)
    right = await secrets.verify_password(stored, password)
    if right:
        async with platform.database.read() as tx:
            return await _actor(tx, user, scope=None)
    denied = authorise.event(
        platform,
        None,
        project="",
        kind=KIND,
        name=user[:200],
        reason="Denied",
        message="wrong name or password",
    )
    async with platform.database.begin() as change:
        await events.append(change, denied)
    raise Unauthenticated("the name or the password is wrong")


async def _session(platform: Platform, tx: Transaction, user: str, how: str) -> Session:
    secret = secrets.SESSION + platform.random_token()
    expires_at = platform.clock() + platform.session_seconds
    await sessions.insert(tx, sha256=secrets.digest(secret), user=user, expires_at=expires_at)
    who = Actor(name=user)
    await authorise.note(platform, tx, who, kind=KIND, name=user, reason="LoggedIn", message=f"by {how}")
    return Session(user=user, secret=secret, expires_at=expires_at)


async def _actor(tx: Snapshot, name: str | None, *, scope: frozenset[Verb] | None) -> Actor:
    user = await users.get(tx, name) if name else None
    if user is None:
        raise Unauthenticated("the session has ended; log in again")
    if user.disabled:
        raise Unauthenticated(f"the account {user.name!r} is disabled; ask an administrator")
    roles: dict[str, Role] = {m.project: m.role for m in await members.list(tx, user=user.name)}
    return Actor(name=user.name, administrator=user.administrator, roles=roles, scope=scope)
