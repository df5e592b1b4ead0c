"""Users, tokens, logins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request, Response

from modelyard.api.answers import Items, everything, page
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import COOKIE, ActorDep, PagingDep, PlatformDep, require_same_origin
from modelyard.api.verbs import states
from modelyard.control import login, tokens, users
from modelyard.domain import wire
from modelyard.domain.access import Token, User, Verb

router = APIRouter(tags=["accounts"], route_class=Idempotent)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """An account to create."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str
    password: str | None = None
    """Without one it can only use tokens and login links."""
    administrator: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEdit:
    """What to change; fields left out stay."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    password: str | None = None
    administrator: bool | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token to make."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    user: str = ""
    """Whose; empty is the caller."""
    description: str = ""
    scope: tuple[Verb, ...] = ()
    """What it is limited to; empty is everything its user may do."""
    days: float | None = None
    """Until it expires; null is never."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token with its secret, which is shown this once only."""

    token: Token
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user's password."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequest:
    """Whom a login link is for."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    user: str = ""
    """Empty is the caller."""


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """A URL that logs a browser in once."""

    url: str


@router.get("/whoami", openapi_extra=states(Verb.SELF))
async def whoami(platform: PlatformDep, actor: ActorDep) -> User:
    """The account in use."""
    return await login.whoami(platform, actor)


@router.post("/login", openapi_extra=states(Verb.ANYONE))
async def log_in(
    platform: PlatformDep, body: Login, response: Response, session: Annotated[bool, Query()] = False
) -> dict[str, str]:
    """Exchange a password for a token, or with `session=true` for a browser's cookie."""
    if session:
        opened = await login.open_session(platform, body.user, body.password)
        set_cookie(response, opened, now=platform.clock(), secure=platform.public_url.startswith("https"))
        return {"user": opened.user}
    issued = await login.issue_token(platform, body.user, body.password)
    return {"user": issued.token.user, "secret": issued.secret}


@router.post("/logout", status_code=204, openapi_extra=states(Verb.ANYONE))
async def log_out(platform: PlatformDep, request: Request, response: Response) -> None:
    """End the browser's session."""
    secret = request.cookies.get(COOKIE, "")
    if secret:
        require_same_origin(request)
        await login.logout(platform, secret)
    response.delete_cookie(COOKIE)


@router.post("/login-links", status_code=201, openapi_extra=states(Verb.SELF))
async def make_login_link(platform: PlatformDep, actor: ActorDep, body: LinkRequest) -> LinkAnswer:
    """Make a URL that logs a browser in once, within minutes."""
    return LinkAnswer((await login.make_link(platform, actor, user=body.user)).url)


@router.get("/users", openapi_extra=states(Verb.ADMINISTER))
async def list_users(platform: PlatformDep, actor: ActorDep, paging: PagingDep) -> Items[User]:
    """All accounts."""
    return page(await users.list(platform, actor, limit=paging.limit, after=paging.after))


@router.post("/users", status_code=201, openapi_extra=states(Verb.ADMINISTER))
async def create_user(platform: PlatformDep, actor: ActorDep, body: NewUser) -> User:
    """Create an account."""
    return await users.create(
        platform, actor, body.name, password=body.password, administrator=body.administrator
    )


@router.get("/users/{user}", openapi_extra=states(Verb.SELF))
async def get_user(platform: PlatformDep, actor: ActorDep, user: str) -> User:
    """One account."""
    return await users.get(platform, actor, user)


@router.patch("/users/{user}", openapi_extra=states(Verb.SELF))
async def update_user(platform: PlatformDep, actor: ActorDep, user: str, body: UserEdit) -> User:
    """Change an account: its own password, or as administrator anything."""
    change = users.UserChange(
        password=body.password, administrator=body.administrator, disabled=body.disabled
    )
    return await users.update(platform, actor, user, change)


@router.delete("/users/{user}", status_code=204, openapi_extra=states(Verb.ADMINISTER))
async def delete_user(platform: PlatformDep, actor: ActorDep, user: str) -> None:
    """Remove an account with its tokens and memberships."""
    await users.delete(platform, actor, user)


@router.get("/tokens", openapi_extra=states(Verb.SELF))
async def list_tokens(
    platform: PlatformDep, actor: ActorDep, user: Annotated[str, Query()] = ""
) -> Items[Token]:
    """The caller's tokens; everybody's for an administrator. Never their secrets."""
    return everything(await tokens.list(platform, actor, user=user))


@router.post("/tokens", status_code=201, openapi_extra=states(Verb.SELF))
async def create_token(platform: PlatformDep, actor: ActorDep, body: NewToken) -> IssuedToken:
    """Make a token; its secret is in this answer only."""
    request = tokens.TokenRequest(
        user=body.user, description=body.description, scope=body.scope, days=body.days
    )
    issued = await tokens.create(platform, actor, request)
    return IssuedToken(issued.token, issued.secret)


@router.delete("/tokens/{token}", status_code=204, openapi_extra=states(Verb.SELF))
async def revoke_token(platform: PlatformDep, actor: ActorDep, token: str) -> None:
    """End a token at once."""
    await tokens.revoke(platform, actor, token)


def set_cookie(response: Response, session: login.Session, *, now: float, secure: bool) -> None:
    """Give a browser its session: out of reach of scripts and of other sites."""
    seconds = max(int(session.expires_at - now), 1)
    response.set_cookie(
        COOKIE, session.secret, max_age=seconds, httponly=True, samesite="strict", secure=secure, path="/"
    )
