"""Tokens of users: made, listed, revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.control import authorise, kinds, missing, secrets
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Token, Verb
from modelyard.domain.errors import FieldError, Forbidden, Invalid, NotFound
from modelyard.store import tokens as store
from modelyard.store import users, work

KIND = "token"
_MOST_DAYS = 3650.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a new token should be."""

    user: str = ""
    """Empty is the caller."""
    description: str = ""
    scope: tuple[Verb, ...] = ()
    """Empty is everything the user may do."""
    days: float | None = None
    """Until it expires; None is never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new token and its secret, which nobody can read again."""

    token: Token
    secret: str


async def list(platform: Platform, actor: Actor, *, user: str = "") -> tuple[Token, ...]:
    """Tokens, without secrets: one's own, or for an administrator those of `user` or of everybody."""
    whose = user or ("" if actor.administrator else actor.name)
    await authorise.require(platform, actor, Verb.SELF, Resource(owner=whose), kind=KIND)
    async with platform.database.read() as tx:
        return await store.list(tx, user=whose)


async def create(platform: Platform, actor: Actor, request: TokenRequest) -> Issued:
    """A new token for oneself, or by an administrator for anybody. A scoped token cannot make wider ones."""
    user = request.user or actor.name
    await authorise.require(platform, actor, Verb.SELF, Resource(owner=user), kind=KIND, name=user)
    if actor.scope is not None and not (request.scope and set(request.scope) <= actor.scope):
        raise Forbidden("scope: a limited token can only make tokens with the same or a narrower scope")
    return await issue(platform, actor, user, request)


async def issue(platform: Platform, actor: Actor | None, user: str, request: TokenRequest) -> Issued:
    """Make and record a token without asking whether the actor may: for logins and the first start."""
    secret = secrets.USER_TOKEN + platform.random_token()
    token = Token(
        id=platform.new_id(),
        user=user,
        description=request.description,
        scope=tuple(sorted(set(request.scope))),
        created_at=platform.at(),
        expires_at=_expiry(platform, request.days),
    )
    async with platform.database.begin() as tx:
        if await users.get(tx, user) is None:
            raise missing.user(user)
        await store.insert(tx, token, sha256=secrets.digest(secret))
        message = f"for {user}" + (f": {request.description}" if request.description else "")
        await authorise.note(platform, tx, actor, kind=KIND, name=token.id, reason="Created", message=message)
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    return Issued(token=token, secret=secret)


async def revoke(platform: Platform, actor: Actor, id: str) -> None:
    """End a token at once; one's own, or any for an administrator."""
    async with platform.database.read() as tx:
        owner = next((t.user for t in await store.list(tx) if t.id == id), actor.name)
    await authorise.require(platform, actor, Verb.SELF, Resource(owner=owner), kind=KIND, name=id)
    async with platform.database.begin() as tx:
        if not await store.revoke(tx, id):
            raise NotFound(f"there is no valid token {id!r}; `modelyard token list` shows yours")
        await authorise.note(platform, tx, actor, kind=KIND, name=id, reason="Revoked")
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)


def _expiry(platform: Platform, days: float | None) -> datetime | None:
    if days is None:
        return None
    if not 0 < days <= _MOST_DAYS:
        message = f"must be more than 0 and at most {_MOST_DAYS:g}"
        raise Invalid(f"days: {message}", errors=[FieldError("days", message)])
    return datetime.fromtimestamp(platform.clock() + days * 86_400, UTC)
