"""Who may do what: the whole matrix, and that no project reaches into another."""

from __future__ import annotations

import pytest

from modelyard.domain.access import Actor, Resource, Role, Verb, may, require
from modelyard.domain.errors import Forbidden, Unauthenticated

MINE, OTHER, PLATFORM = Resource(project="mine"), Resource(project="other"), Resource()
MATRIX = {
    Role.VIEWER: {Verb.READ},
    Role.OPERATOR: {Verb.READ, Verb.OPERATE, Verb.INFER, Verb.TEST},
    Role.DEVELOPER: {Verb.READ, Verb.OPERATE, Verb.INFER, Verb.TEST, Verb.PUBLISH, Verb.DEPLOY, Verb.SECRET},
    Role.OWNER: {
        Verb.READ, Verb.OPERATE, Verb.INFER, Verb.TEST, Verb.PUBLISH, Verb.DEPLOY, Verb.SECRET, Verb.GRANT,
    },
}  # fmt: skip
PROJECT_VERBS = [v for v in Verb if v not in (Verb.ANYONE, Verb.SELF)]


def member(role: Role, **changes: object) -> Actor:
    return Actor(name="ada", roles={"mine": role}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", PROJECT_VERBS)
@pytest.mark.parametrize("role", Role)
def test_a_role_permits_exactly_its_verbs(role: Role, verb: Verb) -> None:
    assert may(member(role), verb, MINE) is (verb in MATRIX[role])


@pytest.mark.parametrize("verb", PROJECT_VERBS)
@pytest.mark.parametrize("role", Role)
def test_no_role_reaches_into_another_project(role: Role, verb: Verb) -> None:
    assert not may(member(role), verb, OTHER)


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.ANYONE])
@pytest.mark.parametrize("resource", [MINE, OTHER, PLATFORM])
def test_nobody_may_do_nothing(verb: Verb, resource: Resource) -> None:
    assert not may(Actor(name=""), verb, resource)
    # Not even when an unproven request claims to be more.
    assert not may(Actor(name="", administrator=True, roles={"mine": Role.OWNER}), verb, resource)


@pytest.mark.parametrize("actor", [Actor(name=""), member(Role.VIEWER), Actor(name="x", scope=frozenset())])
def test_what_is_open_to_all_is_open_to_all(actor: Actor) -> None:
    assert may(actor, Verb.ANYONE, PLATFORM)


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("resource", [MINE, OTHER, PLATFORM])
def test_administrators_may_do_everything(verb: Verb, resource: Resource) -> None:
    assert may(Actor(name="root", administrator=True), verb, resource)


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.ANYONE])
@pytest.mark.parametrize("allowed", [v for v in Verb if v is not Verb.ANYONE])
def test_a_tokens_scope_narrows_even_an_administrator(verb: Verb, allowed: Verb) -> None:
    actor = Actor(name="root", administrator=True, scope=frozenset({allowed}))
    assert may(actor, verb, MINE) is (verb is allowed)


@pytest.mark.parametrize("verb", PROJECT_VERBS)
def test_a_scope_never_widens_a_role(verb: Verb) -> None:
    actor = member(Role.VIEWER, scope=frozenset(Verb))
    assert may(actor, verb, MINE) is (verb is Verb.READ)


@pytest.mark.parametrize("verb", PROJECT_VERBS)
@pytest.mark.parametrize("role", Role)
def test_members_may_only_look_at_the_platform(role: Role, verb: Verb) -> None:
    assert may(member(role), verb, PLATFORM) is (verb is Verb.READ)


def test_people_may_change_their_own_account_and_no_other() -> None:
    assert may(Actor(name="ada"), Verb.SELF, Resource(owner="ada"))
    assert may(Actor(name="ada"), Verb.SELF, PLATFORM)
    assert not may(Actor(name="ada"), Verb.SELF, Resource(owner="bob"))
    with pytest.raises(Forbidden, match="belongs to somebody else"):
        require(Actor(name="ada"), Verb.SELF, Resource(owner="bob"))


def test_a_refusal_says_what_would_help() -> None:
    with pytest.raises(Unauthenticated, match="modelyard login"):
        require(Actor(name=""), Verb.READ, MINE)
    with pytest.raises(Forbidden, match=r"in project mine; .* role developer or owner"):
        require(member(Role.VIEWER), Verb.DEPLOY, MINE)
    with pytest.raises(Forbidden, match="limited to read; use one whose scope has `deploy`"):
        require(member(Role.OWNER, scope=frozenset({Verb.READ})), Verb.DEPLOY, MINE)
    with pytest.raises(Forbidden, match="ask an administrator"):
        require(member(Role.OWNER), Verb.ADMINISTER, MINE)


def test_what_is_permitted_passes_silently() -> None:
    assert require(member(Role.VIEWER), Verb.READ, MINE) is None  # type: ignore[func-returns-value]
