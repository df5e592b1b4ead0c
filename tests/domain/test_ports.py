"""Ports are given once, never twice, and never what is refused or taken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import Conflict, Invalid
from modelyard.domain.ports import Range, allocate

SMALL = Range(base=30_000, count=45)


def test_a_service_gets_the_ports_of_its_number() -> None:
    assert allocate(7, 2, taken=frozenset(), within=Range()) == (30070, 30071)
    assert allocate(7, 1, taken=frozenset(), within=Range(base=20_000)) == (20070,)


def test_what_is_taken_or_refused_is_passed_over_and_the_second_stays_beside_the_first() -> None:
    assert allocate(7, 2, taken=frozenset({30070}), within=Range()) == (30080, 30081)
    assert allocate(7, 2, taken=frozenset({30071}), within=Range()) == (30080, 30081)
    assert 10250 not in allocate(25, 2, taken=frozenset(), within=Range(base=10_000))


def test_what_was_given_is_never_computed_again() -> None:
    assert allocate(7, 1, given=(31234,), taken=frozenset(range(30_000, 40_000)), within=Range()) == (31234,)
    assert allocate(7, 2, given=(31234,), taken=frozenset(), within=Range()) == (31234, 31235)
    assert allocate(7, 2, given=(31234,), taken=frozenset({31235}), within=Range()) == (31234, 30070)
    assert allocate(7, 1, given=(31234, 31235), taken=frozenset(), within=Range()) == (31234, 31235)


def test_a_third_port_is_refused_with_a_remedy() -> None:
    with pytest.raises(Invalid, match="at most 2 ports"):
        allocate(7, 3, taken=frozenset(), within=Range())


def test_when_none_is_left_the_error_says_what_to_do() -> None:
    with pytest.raises(Conflict, match=r"30000 to 30044 are in use; .*gateway\.port_count"):
        allocate(7, 1, taken=frozenset(range(30_000, 30_045)), within=SMALL)


@pytest.mark.parametrize(("base", "count"), [(80, 10), (70_000, 1), (30_000, 0), (65_000, 1000)])
def test_a_range_that_cannot_be_is_refused(base: int, count: int) -> None:
    with pytest.raises(Invalid, match=r"gateway\.port_(base|count)"):
        Range(base=base, count=count)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 2)), max_size=60),
    st.frozensets(st.integers(29_990, 30_060), max_size=20),
    st.frozensets(st.integers(30_000, 30_044), max_size=5),
)
def test_any_services_get_distinct_free_ports_until_there_are_none(
    services: list[tuple[int, int]], foreign: frozenset[int], refused: frozenset[int]
) -> None:
    within = Range(base=30_000, count=45, refused=refused)
    given_out: list[int] = []
    for number, count in services:
        taken = foreign.union(given_out)
        free = set(range(30_000, 30_045)) - taken - refused
        try:
            ports = allocate(number, count, taken=taken, within=within)
        except Conflict:
            assert len(free) < count
            continue
        assert len(set(ports)) == count
        assert free.issuperset(ports)
        assert allocate(number, count, given=ports, taken=taken, within=within) == ports
        given_out += ports
    assert len(given_out) == len(set(given_out))
