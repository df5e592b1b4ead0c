"""Of several services with one host the newest ready one has it, and nobody is cut off for one that fails."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import takeover
from modelyard.domain.address import Address
from modelyard.domain.deployment import Claim, Crashes, DeploymentStatus, Failure, Key, Phase, Stage
from modelyard.domain.takeover import Claimant, claimant, claimed, settle
from tests.domain import make

HOST = "churn.example.com"


def one(name: str, at: float, *, ready: int = 1, whole: bool = True, **more: object) -> Claimant:
    fields: dict[str, object] = {
        "key": Key("default", name),
        "id": int(at),
        "host": HOST,
        "explicit": True,
        "at": at,
        "online": True,
        "ready": ready,
        "whole": whole,
    }
    return Claimant(**{**fields, **more})  # type: ignore[arg-type]


@st.composite
def groups(draw: st.DrawFn) -> list[Claimant]:
    made = []
    for number in range(draw(st.integers(1, 5))):
        ready = draw(st.integers(0, 2))
        made.append(
            one(
                f"s{number}",
                draw(st.integers(0, 3)),
                id=number,
                host=draw(st.sampled_from([HOST, "other.example"])),
                explicit=draw(st.booleans()),
                online=draw(st.booleans()),
                ready=ready,
                whole=ready == 2,
                failure=draw(st.sampled_from(["", "CrashLoop: x"])),
                lapsed=draw(st.booleans()),
            )
        )
    return made


def test_the_newest_takes_the_host_once_it_is_wholly_ready_and_the_old_one_goes_offline() -> None:
    old = one("old", 1)
    waiting = settle([old, one("new", 2, ready=0, whole=False)])[HOST]
    assert (waiting.owner.name, waiting.quiet) == ("old", True)
    partly = settle([old, one("new", 2, ready=1, whole=False)])[HOST]
    assert (partly.owner.name, partly.quiet) == ("old", True)
    ready = settle([old, one("new", 2)])[HOST]
    assert (ready.owner.name, ready.yields) == ("new", (old.key,))


def test_a_new_one_that_fails_before_it_is_ready_leaves_the_host_where_it_is() -> None:
    failing = one("new", 2, ready=0, whole=False, failure="LoadTimeout: too slow")
    settled = settle([one("old", 1), failing])[HOST]
    assert (settled.owner.name, settled.yields) == ("old", ())
    assert settled.lapses == ((failing.key, "LoadTimeout: too slow"),)
    late = replace(failing, lapsed=True, failure="", ready=1, whole=True)
    again = settle([one("old", 1), late])[HOST]
    assert (again.owner.name, again.quiet) == ("old", True)


def test_where_nobody_served_before_a_failing_one_keeps_its_claim() -> None:
    failing = one("new", 2, ready=0, whole=False, failure="CrashLoop")
    assert settle([one("old", 1, ready=0, whole=False), failing])[HOST].lapses == ()


def test_automatic_hosts_that_are_equal_leave_each_other_alone() -> None:
    stage = one("churn", 9, explicit=False, key=Key("default", "churn", Stage.TEST))
    service = one("test", 1, explicit=False, key=Key("churn", "test"))
    settled = settle([stage, service])[HOST]
    assert (settled.owner, settled.quiet) == (service.key, True)


@settings(max_examples=150)
@given(groups())
def test_every_host_has_one_owner_and_only_for_a_ready_one_others_leave(group: list[Claimant]) -> None:
    by_key = {c.key: c for c in group}
    settled = settle(group)
    assert settled.keys() == {c.host for c in group}
    for host, decision in settled.items():
        owner = by_key[decision.owner]
        rivals = [c for c in group if c.host == host]
        assert owner.host == host
        assert owner.online or not any(c.online for c in rivals) or not any(c.explicit for c in rivals)
        if any(c.ready and c.online for c in rivals) and any(c.explicit for c in rivals):
            assert owner.ready
        for key in decision.yields:
            assert (owner.whole, by_key[key].online, key == owner.key) == (True, True, False)
            assert (by_key[key].at, by_key[key].id) < (owner.at, owner.id)
        for key, why in decision.lapses:
            assert (bool(why), by_key[key].whole, key in decision.yields) == (True, False, False)
            assert owner.ready


@settings(max_examples=100)
@given(groups())
def test_it_comes_to_rest_with_one_online_when_all_are_ready(group: list[Claimant]) -> None:
    state = {
        c.key: replace(c, host=HOST, ready=2, whole=True, failure="", lapsed=False, explicit=True)
        for c in group
    }
    decision = settle(state.values())[HOST]
    for key in decision.yields:
        state[key] = replace(state[key], online=False)
    after = settle(state.values())[HOST]
    assert (after.owner, after.quiet) == (decision.owner, True)
    assert sum(c.online for c in state.values()) <= 1


@settings(max_examples=60)
@given(groups(), st.randoms())
def test_the_order_of_the_claimants_decides_nothing(group: list[Claimant], random: object) -> None:
    shuffled = list(group)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {h: (s.owner, set(s.yields), set(s.lapses)) for h, s in settle(shuffled).items()} == {
        h: (s.owner, set(s.yields), set(s.lapses)) for h, s in settle(group).items()
    }


def test_a_claim_is_new_when_a_service_goes_online_or_wants_another_host_and_stays_otherwise() -> None:
    fresh = claimed(make.deployment(), now=5.0)
    assert fresh.claim == Claim(at=5.0, host="", online=True)
    assert claimed(replace(fresh, revision=2), now=9.0) == replace(fresh, revision=2)
    scaled = replace(fresh, spec=replace(fresh.spec, replicas=3))
    assert claimed(scaled, now=9.0).claim.at == 5.0
    moved = replace(fresh, spec=replace(fresh.spec, address=Address(host=HOST)))
    assert claimed(moved, now=9.0).claim == Claim(at=9.0, host=HOST, online=True)
    offline = claimed(replace(fresh, spec=replace(fresh.spec, replicas=0)), now=9.0)
    assert offline.claim == Claim(at=5.0, host="", online=False)
    assert claimed(replace(offline, spec=fresh.spec), now=11.0).claim.at == 11.0
    for lost in (Claim(at=5.0, online=True, yielded_to="default/x"), Claim(at=5.0, online=True, lapsed="x")):
        assert claimed(replace(fresh, claim=lost), now=9.0).claim == Claim(at=9.0, host="", online=True)


def test_a_deployment_that_yielded_wants_no_replicas_and_claims_nothing() -> None:
    yielded = replace(make.deployment(replicas=2), claim=Claim(yielded_to="default/new"))
    assert not claimant(yielded, HOST).online
    assert takeover.settle([claimant(yielded, HOST), one("new", 0)])[HOST].owner.name == "new"


def test_a_claimant_is_whole_by_its_newest_revision_and_fails_by_what_is_recorded() -> None:
    status = DeploymentStatus(replicas=(make.replica("a"), make.replica("b", revision=2)), ready_replicas=2)
    assert not claimant(make.deployment(revision=2, replicas=2, status=status), HOST).whole
    assert claimant(make.deployment(revision=2, replicas=1, status=status), HOST).whole
    crashed = DeploymentStatus(
        crashes=Crashes(revision=1, count=3, failure=Failure(reason="Oom", message="m"))
    )
    assert claimant(make.deployment(status=crashed), HOST).failure == "Oom: m"
    starting = DeploymentStatus(replicas=(make.replica("a", phase=Phase.STARTING),))
    assert claimant(make.deployment(status=starting), HOST).failure == ""
