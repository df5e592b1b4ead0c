"""What is known stays right, whatever the order in which news comes, or how often."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes.known import Known


def thing(name: str, version: int | str, uid: str = "u", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "a", "name": name, "resourceVersion": str(version), "uid": uid}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **more}


HISTORY = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30)
"""For each version the name of what was written, and whether it went."""


def told(history: list[tuple[str, bool]]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a history."""
    events: list[tuple[str, dict[str, Any]]] = []
    alive: set[str] = set()
    for version, (name, goes) in enumerate(history, start=100):
        if goes and name not in alive:
            continue
        kind = "DELETED" if goes else "MODIFIED" if name in alive else "ADDED"
        (alive.discard if goes else alive.add)(name)
        events.append((kind, thing(name, version)))
    return events


def take(known: Known, event: tuple[str, dict[str, Any]]) -> bool:
    kind, value = event
    return known.remove(value) if kind == "DELETED" else known.put(value)


def state(known: Known) -> dict[tuple[str, str], str]:
    return {name: each["metadata"]["resourceVersion"] for name, each in known.objects.items()}


@given(history=HISTORY, data=st.data())
def test_any_order_and_any_repetition_comes_to_the_same(
    history: list[tuple[str, bool]], data: st.DataObject
) -> None:
    events = told(history)
    ordered, shuffled = Known(), Known()
    assert all([take(ordered, each) for each in events])
    again = data.draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    for each in data.draw(st.permutations([*events, *again])):
        take(shuffled, each)
    assert state(shuffled) == state(ordered)
    assert shuffled.version == ordered.version


@given(history=HISTORY, cut=st.integers(0, 30))
def test_going_on_a_little_earlier_is_no_news(history: list[tuple[str, bool]], cut: int) -> None:
    events = told(history)
    known = Known()
    for each in events:
        take(known, each)
    before = state(known)
    assert not any([take(known, each) for each in events[cut:]])
    assert state(known) == before


@given(history=HISTORY, cut=st.integers(0, 30))
def test_reading_everything_anew_tells_what_is_different(history: list[tuple[str, bool]], cut: int) -> None:
    events = told(history)
    partly, wholly = Known(), Known()
    for each in events[:cut]:
        take(partly, each)
    for each in events:
        take(wholly, each)
    before = state(partly)
    news = partly.reset(list(wholly.objects.values()), "500")
    after = state(partly)
    assert news == {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert (state(partly), partly.version) == (state(wholly), "500")


def test_another_of_the_same_name_is_news() -> None:
    known = Known()
    known.put(thing("a", 100, uid="one"))
    assert known.reset([thing("a", 100, uid="two")], "100") == {("a", "a")}
    assert known.remove(thing("a", 101, uid="two"))
    assert known.put(thing("a", 102, uid="three"))
    assert not known.remove(thing("a", 101, uid="two"))


def test_a_write_of_ours_is_known_but_does_not_move_where_to_go_on() -> None:
    known = Known()
    known.put(thing("a", 100))
    assert known.learn(thing("b", 105))
    assert known.version == "100"
    assert not known.put(thing("b", 105))
    assert known.version == "105"


def test_a_late_answer_brings_nothing_back() -> None:
    known = Known()
    known.put(thing("a", 100))
    known.remove(thing("a", 102))
    assert not known.learn(thing("a", 101))
    known.reset([thing("b", 90)], "110")  # "c" came and went while nobody listened
    assert not known.learn(thing("c", 105))
    assert not known.learn(thing("b", 90))
    assert known.learn(thing("c", 111))
    assert state(known) == {("a", "b"): "90", ("a", "c"): "111"}


def test_only_what_is_asked_for_is_kept() -> None:
    known = Known(metadata_only=True)
    value = thing("a", 1, data={"password": "x"})
    value["metadata"]["managedFields"] = [{}]
    known.put(value)
    kept = known.objects["a", "a"]
    assert "data" not in kept
    assert "managedFields" not in kept["metadata"]
    assert value["data"]


def test_versions_that_are_no_numbers_count_as_they_come() -> None:
    known = Known()
    assert known.put(thing("a", "x1"))
    assert known.put(thing("a", "x0"))
    assert known.version == "x0"
    assert not known.is_behind("x9")
    assert known.remove(thing("a", "x0"))
