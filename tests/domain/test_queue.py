"""Which waiting tasks begin: in order, all or nothing, own places before borrowed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import queue
from modelyard.domain.node import Gpu, Node, NodeClass
from modelyard.domain.placement import Claim, Request
from modelyard.domain.priority import Level
from modelyard.domain.queue import Begin, Held, Room, Wait, Waiting


def node(name: str = "n", *cards: str) -> Node:
    """A machine of four cores with these cards."""
    gpus = tuple(Gpu(index=index, name=card, memory_bytes=1) for index, card in enumerate(cards))
    return Node(name=name, cpu_millis=4000, memory_bytes=1 << 34, gpus=gpus)


def task(number: int, project: str = "p", *, level: Level = Level.NORMAL, **wants: object) -> Waiting:
    """The task of this number."""
    request = Request(**wants)  # type: ignore[arg-type]
    return Waiting(id=str(number), project=project, arrived=number, level=level, request=request)


def begun(waiting: Sequence[Waiting], room: Room, running: Sequence[Held] = ()) -> list[str]:
    return [each.id for each in queue.decide(waiting, running, room)[0]]


def why(waiting: Sequence[Waiting], room: Room, running: Sequence[Held] = ()) -> dict[str, str]:
    return {each.id: each.why for each in queue.decide(waiting, running, room)[1]}


def test_who_came_first_begins_first_and_the_others_know_their_position() -> None:
    begins, waits = queue.decide([task(3), task(1), task(2)], (), Room(places=1))
    assert begins == (Begin(id="1"),)
    full = "the one place for validation and tests is taken"
    assert waits == (Wait(id="2", position=1, why=full), Wait(id="3", position=2, why=full))


def test_what_is_more_important_passes_and_what_is_less_waits() -> None:
    waiting = [task(1, level=Level.LOW), task(2), task(3, level=Level.HIGH)]
    assert begun(waiting, Room(places=2)) == ["3", "2"]


def test_a_project_borrows_what_others_leave_and_gives_way_when_they_come() -> None:
    room = Room(places=2, own={"a": 1, "b": 1})
    both = [task(1, "a"), task(2, "a")]
    assert begun(both, room) == ["1", "2"], "nobody of b is there"
    assert [each.borrows for each in queue.decide(both, (), room)[0]] == [False, True]
    running = [Held(project="a"), Held(project="a")]
    waiting = [task(3, "a", level=Level.CRITICAL), task(4, "b")]
    assert begun(waiting, room, running) == [], "what runs is not ended"
    assert why(waiting, room, running) == {
        "4": "all 2 places for validation and tests are taken",
        "3": "all 2 places for validation and tests are taken; "
        "project a has its 1 already, and borrows what others leave",
    }
    assert begun(waiting, room, running[:1]) == ["4"], "b has its own before a borrows, whatever the priority"


def test_a_project_without_places_of_its_own_borrows_last() -> None:
    room = Room(places=1, own={"a": 1})
    assert begun([task(1, "c"), task(2, "a")], room) == ["2"]
    assert "project c has none of its own" in why([task(1, "c"), task(2, "a")], room)["1"]


def test_cards_are_given_all_at_once_or_not_at_all() -> None:
    room = Room(places=9, nodes=[node("n", "T4", "T4")], held=[Claim(node="n", gpus=(0,))])
    waiting = [task(1, gpus=2), task(2, gpus=1), task(3)]
    assert begun(waiting, room) == ["3"], "who wants no card passes; who wants one would hold up the first"
    assert why(waiting, room) == {
        "1": "insufficient nvidia.com/gpu: needs 2, free 1",
        "2": "another task that waits for such cards is before it",
    }
    (first, other), _ = queue.decide(waiting, (), replace(room, held=()))
    assert (first.id, first.placement and first.placement.gpus, other.id) == ("1", (0, 1), "3")


def test_cards_of_another_type_are_not_waited_for() -> None:
    room = Room(places=9, nodes=[node("n", "Tesla T4", "A100")], held=[Claim(node="n", gpus=(0,))])
    assert begun([task(1, gpus=1, models=("T4",)), task(2, gpus=1, models=("A100",))], room) == ["2"]


def test_what_can_never_be_holds_up_nobody() -> None:
    room = Room(places=9, nodes=[node("n", "T4")])
    waiting = [task(1, gpus=2), task(2, gpus=1)]
    assert begun(waiting, room) == ["2"]
    assert "even an empty node has only" in why(waiting, room)["1"]


def test_two_tasks_never_share_a_card() -> None:
    room = Room(places=9, nodes=[node("n", "T4", "T4")])
    begins, _ = queue.decide([task(1, gpus=1), task(2, gpus=1), task(3, gpus=1)], (), room)
    assert [each.placement and each.placement.gpus for each in begins] == [(0,), (1,)]


def test_there_is_a_place_for_each_core_for_computing_and_always_two() -> None:
    serving = replace(node("m"), classes=(NodeClass.DEPLOY,))
    assert queue.places_of([node(), serving]) == 4
    assert queue.places_of([]) == 2
    assert queue.places_of([node()], 1) == 1
    assert queue.places_of([replace(node(), ready=False)]) == 2


_PROJECTS = st.sampled_from(["a", "b", "c"])
_TASKS = st.lists(
    st.builds(
        lambda project, level, gpus: (project, level, gpus),
        _PROJECTS, st.sampled_from(list(Level)), st.integers(0, 3),
    ),
    max_size=12,
)  # fmt: skip
_ROOMS = st.builds(
    lambda places, own, cards: Room(
        places=places, own=own, nodes=[node("n", *["T4"] * cards), node("m", "T4")]
    ),
    st.integers(1, 5),
    st.dictionaries(_PROJECTS, st.integers(0, 3)),
    st.integers(0, 4),
)


def _waiting(said: Sequence[tuple[str, Level, int]]) -> list[Waiting]:
    return [task(n, project, level=level, gpus=gpus) for n, (project, level, gpus) in enumerate(said)]


@given(said=_TASKS, room=_ROOMS, running=st.lists(_PROJECTS, max_size=5))
def test_nothing_is_given_twice_and_nobody_passes_whom_he_may_not(
    said: Sequence[tuple[str, Level, int]], room: Room, running: Sequence[str]
) -> None:
    waiting, held = _waiting(said), [Held(project=each) for each in running]
    begins, waits = queue.decide(waiting, held, room)
    by_id = {each.id: each for each in waiting}
    assert sorted([*(b.id for b in begins), *(w.id for w in waits)]) == sorted(by_id), "each exactly once"
    assert len(begins) <= max(room.places - len(running), 0)
    given_cards = [(b.placement.node, card) for b in begins if b.placement for card in b.placement.gpus]
    assert len(given_cards) == len(set(given_cards))
    for each in begins:
        wanted = by_id[each.id].request.gpus
        assert (len(each.placement.gpus) if each.placement else 0) == wanted, "all or nothing"
    assert [each.position for each in waits] == list(range(1, len(waits) + 1))
    taken = Counter(running)
    for each in begins:
        project = by_id[each.id].project
        if not each.borrows and any(room.own.values()):
            assert taken[project] < room.own.get(project, 0)
        taken[project] += 1
    for one in waits:
        first = by_id[one.id]
        for begin in begins:
            other = by_id[begin.id]
            if first.project == other.project and first.request == other.request:
                assert (other.level.rank, other.arrived) < (first.level.rank, first.arrived)
            lends = taken[first.project] < room.own.get(first.project, 0)
            assert not (begin.borrows and lends and not first.request.gpus), "one's own comes before a loan"
    plain = [each for each in waits if not by_id[each.id].request.gpus]
    assert not plain or len(begins) + len(running) >= room.places, "no place stays empty without need"


@given(said=_TASKS, room=_ROOMS)
def test_all_that_can_begin_does_in_the_end(said: Sequence[tuple[str, Level, int]], room: Room) -> None:
    waiting = _waiting(said)
    ran: list[str] = []
    for _ in range(len(waiting) + 1):
        begins, _ = queue.decide(waiting, (), room)
        ran += [each.id for each in begins]
        waiting = [each for each in waiting if each.id not in ran]
    most = max(len(each.gpus) for each in room.nodes)
    assert all(each.request.gpus > most for each in waiting)


def test_an_own_place_is_not_lost_to_one_of_the_project_that_waits_for_cards() -> None:
    room = Room(places=1, own={"a": 1}, nodes=[node("n", "T4")], held=[Claim(node="n", gpus=(0,))])
    assert begun([task(1, "b"), task(2, "a", gpus=1), task(3, "a")], room) == ["3"]
