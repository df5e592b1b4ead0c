"""What may wait is bounded, and a place that was left is free."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.gateway.activator.holding import Bounds, Guest, Hall, Outcome

BOUNDS = Bounds(requests=3, seconds=1.0, total_bytes=100, body_bytes=60)


def guest(service: str = "a") -> Guest:
    return Guest(service, BOUNDS, lambda outcome: None)


def test_each_bound_has_its_word() -> None:
    hall = Hall()
    one, two, three = (guest() for _ in range(3))
    assert [hall.enter(each) for each in (one, two, three)] == [None] * 3
    assert hall.enter(guest()) is Outcome.FULL
    assert hall.enter(guest("b")) is None
    assert hall.grow(one, 60) is None
    assert hall.grow(one, 1) is Outcome.TOO_LARGE
    assert hall.grow(two, 39) is None
    assert hall.grow(two, 1) is Outcome.FULL
    hall.leave(one)
    assert hall.grow(two, 1) is None
    assert hall.waiting == {"a": 2, "b": 1}
    assert hall.take_asked() == {"a", "b"}
    assert hall.take_asked() == frozenset()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 80), st.booleans()), max_size=40))
@settings(max_examples=100)
def test_nothing_is_kept_of_who_left(visits: list[tuple[str, int, bool]]) -> None:
    hall, inside = Hall(), list[Guest]()
    for service, size, stays in visits:
        new = guest(service)
        if hall.enter(new) is None and hall.grow(new, size) is None and stays:
            inside.append(new)
        else:
            hall.leave(new)
        for name in "ab":
            here = [each for each in inside if each.service == name]
            assert hall.waiting.get(name, 0) == len(here) <= BOUNDS.requests
            assert sum(each.size for each in here) <= BOUNDS.total_bytes
    for each in inside:
        hall.leave(each)
    assert hall.waiting == {}
    assert hall.grow(guest(), 1) is None
