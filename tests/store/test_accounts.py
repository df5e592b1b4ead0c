"""Members, passwords, tokens, login links and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from modelyard.domain.access import Member, Role, Token
from modelyard.domain.errors import Conflict, NotFound
from modelyard.store import Database, links, members, projects, sessions, tokens, users
from tests.store import samples

NOW = samples.AT.timestamp()


@pytest.fixture
async def planted(database: Database) -> Database:
    await samples.plant(database)
    async with database.begin() as tx:
        await projects.insert(tx, samples.project("other"))
        await users.insert(tx, samples.user("bob"), password_hash="old")
    return database


async def _keep(database: Database, *kept: Token) -> None:
    async with database.begin() as tx:
        for token in kept:
            await tokens.insert(tx, token, sha256=f"digest of {token.id}")


def _ids(found: Sequence[tuple[str, Token]]) -> list[tuple[str, str]]:
    return [(digest, token.id) for digest, token in found]


async def test_members_are_listed_by_project_and_by_user(planted: Database) -> None:
    ours = Member(project="default", user="ada", role=Role.OWNER)
    guest = Member(project="default", user="bob", role=Role.VIEWER)
    theirs = Member(project="other", user="bob", role=Role.OPERATOR)
    async with planted.begin() as tx:
        for member in (theirs, guest, ours):
            await members.put(tx, member)
    async with planted.read() as tx:
        assert await members.list(tx) == (ours, guest, theirs)
        assert await members.list(tx, project="default") == (ours, guest)
        assert await members.list(tx, user="bob") == (guest, theirs)
        assert await members.list(tx, project="other", user="ada") == ()


async def test_putting_a_member_again_changes_the_role(planted: Database) -> None:
    async with planted.begin() as tx:
        await members.put(tx, Member(project="default", user="bob", role=Role.VIEWER))
        await members.put(tx, Member(project="default", user="bob", role=Role.OWNER))
        assert [m.role for m in await members.list(tx, user="bob")] == [Role.OWNER]


async def test_a_membership_ends_once(planted: Database) -> None:
    async with planted.begin() as tx:
        await members.put(tx, Member(project="default", user="bob", role=Role.VIEWER))
        assert await members.delete(tx, "default", "bob")
        assert not await members.delete(tx, "default", "bob")
        assert await members.list(tx) == ()


async def test_nobody_becomes_a_member_of_nothing(planted: Database) -> None:
    with pytest.raises(Conflict, match="create or delete that first"):
        async with planted.begin() as tx:
            await members.put(tx, Member(project="default", user="nobody", role=Role.VIEWER))


async def test_a_password_hash_is_kept_apart_from_the_user(planted: Database) -> None:
    async with planted.begin() as tx:
        assert await users.password_hash(tx, "bob") == "old"
        assert await users.password_hash(tx, "ada") is None
        assert await users.password_hash(tx, "nobody") is None
        await users.set_password_hash(tx, "bob", "new")
        await users.update(tx, samples.user("bob", administrator=True), expected=1)
        assert await users.password_hash(tx, "bob") == "new"
        await users.set_password_hash(tx, "bob", None)
        assert await users.password_hash(tx, "bob") is None


async def test_a_password_of_nobody_cannot_be_set(planted: Database) -> None:
    async with planted.begin() as tx:
        with pytest.raises(NotFound, match="user 'nobody'"):
            await users.set_password_hash(tx, "nobody", "x")


async def test_a_token_is_found_by_its_digest_alone(planted: Database) -> None:
    token = samples.token(expires_at=samples.AT)
    await _keep(planted, token)
    async with planted.read() as tx:
        assert await tokens.find(tx, "digest of t1") == token
        assert await tokens.find(tx, "t1") is None


async def test_a_digest_is_never_given_twice(planted: Database) -> None:
    await _keep(planted, samples.token())
    with pytest.raises(Conflict, match="token 't2'"):
        async with planted.begin() as tx:
            await tokens.insert(tx, samples.token("t2"), sha256="digest of t1")


async def test_a_revoked_token_stays_revoked_and_listed(planted: Database) -> None:
    await _keep(planted, samples.token())
    async with planted.begin() as tx:
        assert await tokens.revoke(tx, "t1")
        assert not await tokens.revoke(tx, "t1")
        assert not await tokens.revoke(tx, "never")
        revoked = replace(samples.token(), revoked=True)
        assert await tokens.find(tx, "digest of t1") == revoked
        assert await tokens.list(tx) == await tokens.list(tx, user="ada") == (revoked,)
        assert await tokens.list(tx, user="bob") == ()


async def test_the_last_use_of_a_token_never_goes_back(planted: Database) -> None:
    await _keep(planted, samples.token())
    async with planted.begin() as tx:
        for at in (NOW, NOW - 5):
            await tokens.touch(tx, "t1", at=at)
        [token] = await tokens.list(tx)
    assert token.last_used_at == datetime.fromtimestamp(NOW, UTC)


async def test_only_tokens_that_open_something_are_active(planted: Database) -> None:
    expired = samples.token("expired", expires_at=datetime.fromtimestamp(NOW, UTC))
    fresh = samples.token("fresh", expires_at=datetime.fromtimestamp(NOW + 1, UTC))
    theirs = replace(samples.token("theirs"), user="bob")
    await _keep(planted, expired, fresh, samples.token("endless"), samples.token("revoked"), theirs)
    async with planted.begin() as tx:
        await tokens.revoke(tx, "revoked")
        before = await tokens.active(tx, now=NOW)
        await users.update(tx, samples.user("bob", disabled=True), expected=1)
        after = await tokens.active(tx, now=NOW)
    assert _ids(before) == [(f"digest of {id}", id) for id in ("endless", "fresh", "theirs")]
    assert _ids(after) == [(f"digest of {id}", id) for id in ("endless", "fresh")]


async def test_a_login_link_works_once_and_in_time(planted: Database) -> None:
    async with planted.begin() as tx:
        for digest, until in (("good", NOW + 60), ("late", NOW)):
            await links.insert(tx, sha256=digest, user="ada", expires_at=until)
        assert await links.take(tx, "good", now=NOW) == "ada"
        assert await links.take(tx, "good", now=NOW) is None
        assert await links.take(tx, "late", now=NOW) is None
        assert await links.take(tx, "never", now=NOW) is None


async def test_a_session_is_found_until_it_ends_or_expires(planted: Database) -> None:
    async with planted.begin() as tx:
        for digest in ("one", "two"):
            await sessions.insert(tx, sha256=digest, user="ada", expires_at=NOW + 60)
        assert await sessions.find(tx, "one", now=NOW) == "ada"
        assert await sessions.find(tx, "one", now=NOW + 60) is None
        assert await sessions.delete(tx, "one")
        assert not await sessions.delete(tx, "one")
        assert await sessions.find(tx, "one", now=NOW) is None
        assert await sessions.delete_all(tx, "ada") == 1
        assert await sessions.find(tx, "two", now=NOW) is None


async def test_sweeping_forgets_only_what_has_expired(planted: Database) -> None:
    async with planted.begin() as tx:
        for digest, until in (("old", NOW), ("new", NOW + 1)):
            await links.insert(tx, sha256=digest, user="ada", expires_at=until)
            await sessions.insert(tx, sha256=digest, user="ada", expires_at=until)
        assert await links.sweep(tx, now=NOW) == await sessions.sweep(tx, now=NOW) == 1
        assert await sessions.find(tx, "new", now=NOW) == await links.take(tx, "new", now=NOW) == "ada"


async def test_a_deleted_user_leaves_nothing_that_opens_anything(planted: Database) -> None:
    await _keep(planted, samples.token())
    async with planted.begin() as tx:
        await members.put(tx, Member(project="default", user="ada", role=Role.OWNER))
        await sessions.insert(tx, sha256="s", user="ada", expires_at=NOW + 60)
        await links.insert(tx, sha256="l", user="ada", expires_at=NOW + 60)
        assert await users.delete(tx, "ada")
        assert await tokens.list(tx) == await members.list(tx) == ()
        assert await sessions.find(tx, "s", now=NOW) is None
        assert await links.take(tx, "l", now=NOW) is None
