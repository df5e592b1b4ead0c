"""Users: accounts of people and programs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.control import authorise, kinds, missing, secrets
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.access import Actor, Resource, User, Verb
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.store import Page, sessions, work
from modelyard.store import users as store

KIND = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What to change of an account; None leaves it as it is."""

    password: str | None = None
    administrator: bool | None = None
    disabled: bool | None = None


async def list(platform: Platform, actor: Actor, *, limit: int = 100, after: str = "") -> Page[User]:
    """All accounts, by name. Administrators only."""
    await authorise.administrator(platform, actor, kind=KIND)
    async with platform.database.read() as tx:
        return await store.list(tx, limit=limit, after=after)


async def get(platform: Platform, actor: Actor, name: str) -> User:
    """One account; one's own, or any for an administrator."""
    await authorise.require(platform, actor, Verb.SELF, Resource(owner=name), kind=KIND, name=name)
    async with platform.database.read() as tx:
        found = await store.get(tx, name)
    if found is None:
        raise missing.user(name)
    return found


async def create(
    platform: Platform, actor: Actor, name: str, *, password: str | None = None, administrator: bool = False
) -> User:
    """A new account; without a password it can only use tokens and login links. Administrators only."""
    await authorise.administrator(platform, actor, kind=KIND, name=name)
    naming.require_name(name, "name")
    user = User(name=name, administrator=administrator, created_at=platform.at())
    hashed = None if password is None else await secrets.hash_password(_acceptable(password))
    async with platform.database.begin() as tx:
        await store.insert(tx, user, password_hash=hashed)
        message = "administrator" if administrator else ""
        await authorise.note(platform, tx, actor, kind=KIND, name=name, reason="Created", message=message)
    return user


async def update(platform: Platform, actor: Actor, name: str, change: UserChange) -> User:
    """Change an account. One's own password is everybody's own business; the rest is for administrators."""
    own = change.administrator is None and change.disabled is None
    if own:
        await authorise.require(platform, actor, Verb.SELF, Resource(owner=name), kind=KIND, name=name)
    else:
        await authorise.administrator(platform, actor, kind=KIND, name=name)
    hashed = None if change.password is None else await secrets.hash_password(_acceptable(change.password))
    async with platform.database.begin() as tx:
        user = await store.get(tx, name)
        if user is None:
            raise missing.user(name)
        if name == actor.name and (change.disabled or change.administrator is False):
            raise Conflict("you cannot take your own rights away; ask another administrator")
        user = await store.update(tx, _changed(user, change), expected=user.generation)
        if hashed is not None:
            await store.set_password_hash(tx, name, hashed)
        if hashed is not None or change.disabled:
            await sessions.delete_all(tx, name)
        said = _said(change)
        await authorise.note(platform, tx, actor, kind=KIND, name=name, reason="Changed", message=said)
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    return user


async def delete(platform: Platform, actor: Actor, name: str) -> None:
    """Remove an account with its tokens, sessions and memberships. Administrators only."""
    await authorise.administrator(platform, actor, kind=KIND, name=name)
    if name == actor.name:
        raise Conflict("you cannot delete your own account; ask another administrator")
    async with platform.database.begin() as tx:
        if not await store.delete(tx, name):
            raise missing.user(name)
        await authorise.note(platform, tx, actor, kind=KIND, name=name, reason="Deleted")
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)


async def ensure_administrator(platform: Platform, name: str = "admin") -> User:
    """The administrator of the first start, without a password; made when missing."""
    async with platform.database.begin() as tx:
        user = await store.get(tx, name)
        if user is None:
            user = User(name=name, administrator=True, created_at=platform.at())
            await store.insert(tx, user, password_hash=None)
            await authorise.note(
                platform, tx, None, kind=KIND, name=name, reason="Created", message="administrator"
            )
    return user


def _changed(user: User, change: UserChange) -> User:
    administrator = user.administrator if change.administrator is None else change.administrator
    disabled = user.disabled if change.disabled is None else change.disabled
    return replace(user, administrator=administrator, disabled=disabled)


def _said(change: UserChange) -> str:
    """What was changed, for the record: never the password itself."""
    given = {"administrator": change.administrator, "disabled": change.disabled}
    words = [f"{field} {value}".lower() for field, value in given.items() if value is not None]
    return ", ".join([*words, *(["password"] if change.password is not None else [])])


def _acceptable(password: str) -> str:
    if not 8 <= len(password) <= 1000:
        message = "must have between 8 and 1000 characters"
        raise Invalid(f"password: {message}", errors=[FieldError("password", message)])
    return password
