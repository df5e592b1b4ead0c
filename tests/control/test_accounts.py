from __future__ import annotations

import pytest

from modelyard.backends.memory import ManualClock
from modelyard.control import login, members, projects, secrets, tokens, users
from modelyard.control.controller import prepare
from modelyard.control.reconcilers import gateway
from modelyard.domain.access import Actor, Role, Verb
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from modelyard.domain.project import ProjectSpec
from tests.control.world import ADMIN, CHURN, World, build, publish
from tests.support.inline import InlineDatabase

PASSWORD = "correct horse battery"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> World:
    made = build(InlineDatabase(), now=clock)
    await prepare(made.platform)
    await users.create(made.platform, ADMIN, "bob", password=PASSWORD)
    return made


async def test_a_password_opens_a_session_until_it_expires(world: World, clock: ManualClock) -> None:
    platform = world.platform
    session = await login.open_session(platform, "bob", PASSWORD)
    assert (await login.authenticate(platform, session.secret)).name == "bob"
    clock.advance(platform.session_seconds + 1)
    with pytest.raises(Unauthenticated):
        await login.authenticate(platform, session.secret)


async def test_logging_out_ends_the_session(world: World) -> None:
    session = await login.open_session(world.platform, "bob", PASSWORD)
    await login.logout(world.platform, session.secret)
    with pytest.raises(Unauthenticated):
        await login.authenticate(world.platform, session.secret)


@pytest.mark.parametrize(
    ("name", "password"), [("bob", "wrong horse battery"), ("nobody", PASSWORD), ("admin", "")]
)
async def test_a_wrong_login_does_not_tell_what_was_wrong(world: World, name: str, password: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^the name or the password is wrong$"):
        await login.open_session(world.platform, name, password)


async def test_a_changed_password_ends_every_session(world: World) -> None:
    session = await login.open_session(world.platform, "bob", PASSWORD)
    bob = Actor(name="bob")
    await users.update(world.platform, bob, "bob", users.UserChange(password="another horse"))
    with pytest.raises(Unauthenticated):
        await login.authenticate(world.platform, session.secret)
    with pytest.raises(Unauthenticated):
        await login.open_session(world.platform, "bob", PASSWORD)
    await login.open_session(world.platform, "bob", "another horse")


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
async def test_a_password_of_the_wrong_length_is_refused(world: World, password: str) -> None:
    with pytest.raises(Invalid, match="password: must have between 8 and 1000"):
        await users.create(world.platform, ADMIN, "carol", password=password)


async def test_a_login_link_works_once(world: World) -> None:
    link = await login.make_link(world.platform, ADMIN, user="bob")
    secret = link.url.rpartition("/")[2]
    session = await login.take_link(world.platform, secret)
    assert (await login.authenticate(world.platform, session.secret)).name == "bob"
    with pytest.raises(Unauthenticated, match="used or has expired"):
        await login.take_link(world.platform, secret)


async def test_a_login_link_expires(world: World, clock: ManualClock) -> None:
    link = await login.make_link(world.platform, ADMIN)
    clock.advance(world.platform.link_seconds + 1)
    with pytest.raises(Unauthenticated):
        await login.take_link(world.platform, link.url.rpartition("/")[2])


async def test_a_disabled_account_opens_nothing(world: World) -> None:
    issued = await login.issue_token(world.platform, "bob", PASSWORD)
    link = await login.make_link(world.platform, ADMIN, user="bob")
    await users.update(world.platform, ADMIN, "bob", users.UserChange(disabled=True))
    for attempt in (
        login.authenticate(world.platform, issued.secret),
        login.open_session(world.platform, "bob", PASSWORD),
        login.take_link(world.platform, link.url.rpartition("/")[2]),
    ):
        with pytest.raises(Unauthenticated):
            await attempt


async def test_a_token_carries_its_users_roles_and_its_own_scope(world: World) -> None:
    platform = world.platform
    await members.put(platform, ADMIN, "default", "bob", Role.DEVELOPER)
    request = tokens.TokenRequest(user="bob", scope=(Verb.INFER,))
    issued = await tokens.create(platform, ADMIN, request)
    actor = await login.authenticate(platform, issued.secret)
    assert actor == Actor(name="bob", roles={"default": Role.DEVELOPER}, scope=frozenset({Verb.INFER}))
    assert issued.secret.startswith("myu_")
    assert issued.secret not in repr(await tokens.list(platform, ADMIN))


async def test_a_revoked_or_expired_token_is_refused(world: World, clock: ManualClock) -> None:
    platform, bob = world.platform, Actor(name="bob")
    revoked = await tokens.create(platform, bob, tokens.TokenRequest())
    expiring = await tokens.create(platform, bob, tokens.TokenRequest(days=1))
    await tokens.revoke(platform, bob, revoked.token.id)
    with pytest.raises(Unauthenticated, match="not valid"):
        await login.authenticate(platform, revoked.secret)
    assert (await login.authenticate(platform, expiring.secret)).name == "bob"
    clock.advance(86_401)
    with pytest.raises(Unauthenticated, match="expired"):
        await login.authenticate(platform, expiring.secret)
    with pytest.raises(NotFound):
        await tokens.revoke(platform, bob, revoked.token.id)


async def test_nobody_revokes_the_token_of_another(world: World) -> None:
    await users.create(world.platform, ADMIN, "carol")
    issued = await tokens.create(world.platform, Actor(name="bob"), tokens.TokenRequest())
    with pytest.raises(Forbidden):
        await tokens.revoke(world.platform, Actor(name="carol"), issued.token.id)


@pytest.mark.parametrize("scope", [(), (Verb.DEPLOY,), (Verb.SELF, Verb.GRANT)])
async def test_a_limited_token_makes_no_wider_one(world: World, scope: tuple[Verb, ...]) -> None:
    limited = Actor(name="bob", scope=frozenset({Verb.SELF, Verb.INFER}))
    with pytest.raises(Forbidden, match="narrower"):
        await tokens.create(world.platform, limited, tokens.TokenRequest(scope=scope))


@pytest.mark.parametrize("days", [0, -1, 1e9, float("nan")])
async def test_a_token_that_expires_at_no_sensible_time_is_refused(world: World, days: float) -> None:
    with pytest.raises(Invalid, match="days"):
        await tokens.create(world.platform, ADMIN, tokens.TokenRequest(days=days))


@pytest.mark.parametrize("secret", ["", "myu_", "mys_x", "myw_x", "\ud800", "é" * 10_000, "../../etc"])
async def test_what_is_no_token_is_refused_as_such(world: World, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        await login.authenticate(world.platform, secret)


async def test_nobody_takes_their_own_rights_away(world: World) -> None:
    for attempt in (
        users.update(world.platform, ADMIN, "admin", users.UserChange(administrator=False)),
        users.update(world.platform, ADMIN, "admin", users.UserChange(disabled=True)),
        users.delete(world.platform, ADMIN, "admin"),
    ):
        with pytest.raises(Conflict):
            await attempt


async def test_whoever_may_infer_in_a_project_opens_its_services_and_no_others(world: World) -> None:
    platform = world.platform
    await projects.create(platform, ADMIN, "other", ProjectSpec())
    await publish(world.database, "churn", 1)
    await world.deploy()
    issued = {}
    for name, role, project in (
        ("op", Role.OPERATOR, "default"),
        ("val", Role.VIEWER, "default"),
        ("eve", Role.OWNER, "other"),
    ):
        await users.create(platform, ADMIN, name)
        await members.put(platform, ADMIN, project, name, role)
        issued[name] = await tokens.create(platform, ADMIN, tokens.TokenRequest(user=name, days=1))
    limited = await tokens.create(platform, ADMIN, tokens.TokenRequest(user="op", scope=(Verb.READ,)))
    admin = await tokens.create(platform, ADMIN, tokens.TokenRequest())
    await gateway.Routes(platform).reconcile("all")
    [route] = world.gateway.applied
    keys = {key.sha256: key for key in route.keys}
    assert route.name == str(CHURN)
    assert {secrets.digest(issued["op"].secret), secrets.digest(admin.secret)} <= keys.keys()
    for refused in (issued["val"], issued["eve"], limited):
        assert secrets.digest(refused.secret) not in keys
    assert keys[secrets.digest(issued["op"].secret)].expires_at == int(platform.clock() + 86_400)


async def test_a_project_with_something_in_it_is_not_deleted(world: World) -> None:
    platform = world.platform
    await projects.create(platform, ADMIN, "other", ProjectSpec())
    await publish(world.database, "m", 1, project="other")
    with pytest.raises(Conflict, match="still has models"):
        await projects.delete(platform, ADMIN, "other")
    with pytest.raises(Conflict, match="always exists"):
        await projects.delete(platform, ADMIN, "default")


async def test_people_see_their_own_projects_alone(world: World) -> None:
    for name in ("p1", "p2", "p3"):
        await projects.create(world.platform, ADMIN, name, ProjectSpec())
    bob = Actor(name="bob", roles={"p1": Role.VIEWER, "p3": Role.OWNER, "gone": Role.OWNER})
    seen = await projects.list(world.platform, bob)
    assert [project.name for project in seen.items] == ["p1", "p3"]
    everything = await projects.list(world.platform, ADMIN)
    assert [project.name for project in everything.items] == ["default", "p1", "p2", "p3"]
