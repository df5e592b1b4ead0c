"""Names and pods: whatever the cluster does, every wanted replica is at most one pod, and stays it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes.assignment import Assignment, Held, assign

NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)
PODS = st.lists(
    st.builds(
        Held,
        pod=st.sampled_from([f"pod-{n}" for n in range(8)]),
        replica=st.sampled_from(["", "", *"abcdefg"]),
        leaving=st.booleans(),
        created=st.sampled_from(["2026-01-01T00:00:0" + str(n) for n in range(4)]),
    ),
    unique_by=lambda held: held.pod,
    max_size=8,
)


def after(pods: list[Held], made: Assignment) -> list[Held]:
    """The pods once they were told who they are."""
    return [
        Held(
            pod=held.pod,
            replica=made.named.get(held.pod, held.replica),
            leaving=held.leaving,
            created=held.created,
        )
        for held in pods
    ]


@given(NAMES, PODS)
def test_every_wanted_replica_is_at_most_one_staying_pod(wanted: list[str], pods: list[Held]) -> None:
    made = assign(wanted, pods)
    assert set(made.by_name) <= set(wanted)
    assert len(set(made.by_name.values())) == len(made.by_name)
    staying = {held.pod for held in pods if not held.leaving}
    assert set(made.by_name.values()) <= staying


@given(NAMES, PODS)
def test_a_name_is_left_without_a_pod_only_when_no_new_pod_is_left(
    wanted: list[str], pods: list[Held]
) -> None:
    made = assign(wanted, pods)
    new = [held.pod for held in pods if not held.leaving and not held.replica]
    assert len(made.by_name) == len(wanted) or set(new) <= set(made.named)


@given(NAMES, PODS)
def test_a_pod_that_had_a_name_never_gets_another(wanted: list[str], pods: list[Held]) -> None:
    made = assign(wanted, pods)
    had = {held.pod for held in pods if held.replica}
    assert not had & set(made.named)
    for held in pods:
        if held.replica in wanted and not held.leaving and held.replica:
            owner = made.by_name[held.replica]
            assert owner == held.pod or held.pod in made.unwanted


@given(NAMES, PODS)
def test_telling_the_pods_settles_it(wanted: list[str], pods: list[Held]) -> None:
    made = assign(wanted, pods)
    again = assign(wanted, after(pods, made))
    assert again.by_name == made.by_name
    assert not again.named
    assert set(again.unwanted) == set(made.unwanted)


@given(NAMES, PODS)
def test_every_pod_is_accounted_for(wanted: list[str], pods: list[Held]) -> None:
    made = assign(wanted, pods)
    known = {*made.by_name.values(), *made.unwanted, *made.leaving}
    spare = {held.pod for held in pods if not held.replica and not held.leaving} - set(made.named)
    assert known | spare == {held.pod for held in pods}
