"""Windows can be added in any way, and say of times what is true of them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import observation, tallies
from modelyard.domain.observation import BOUNDS, Load, Window, code_of_call, merged
from modelyard.domain.tallies import Sample, Tally, grown, load, window

_times = st.lists(st.integers(0, 2_000_000_000), max_size=30)
_codes = st.dictionaries(st.sampled_from([0, 200, 404, 500, 503]), st.integers(1, 50))
_calls = st.dictionaries(st.integers(0, 17), st.integers(1, 50))
_few = settings(max_examples=60, deadline=None)


def _bins(micros: list[int]) -> dict[int, int]:
    """As the gateway counts: by the least value with the same two first digits."""
    cut = (t // 10 ** max(len(str(t)) - 2, 0) * 10 ** max(len(str(t)) - 2, 0) for t in micros)
    return dict(Counter(cut))


@st.composite
def _tallies(draw: st.DrawFn) -> Tally:
    micros = draw(_times)
    return Tally(
        route="default/a",
        codes=draw(_codes),
        calls=draw(_calls),
        microseconds=sum(micros),
        times=_bins(micros),
        replicas=draw(st.dictionaries(st.sampled_from(["r1", "r2"]), st.integers(1, 9))),
    )


_windows = st.builds(
    lambda tally, at: window(tally, since=at, until=at + 5.0) or Window(seconds=5.0),
    _tallies(),
    st.integers(1, 1000).map(float),
)


def _same(one: Window, other: Window) -> bool:
    return replace(one, total_seconds=0.0) == replace(other, total_seconds=0.0) and math.isclose(
        one.total_seconds, other.total_seconds, abs_tol=1e-9
    )


@_few
@given(_windows, _windows, _windows)
def test_adding_is_associative_and_commutative_and_nothing_changes_nothing(
    a: Window, b: Window, c: Window
) -> None:
    assert _same((a + b) + c, a + (b + c))
    assert _same(a + b, b + a)
    assert _same(merged((a, b, c)), a + b + c)
    assert _same(a + Window(), a)


@_few
@given(st.lists(st.integers(1, 900_000_000), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_a_quantile_lies_between_the_bounds_of_the_bucket_that_the_true_one_is_in(
    micros: list[int], q: float
) -> None:
    found = window(Tally(route="default/a", times=_bins(micros)), since=0.0, until=5.0)
    assert found is not None
    ordered = sorted(micros)
    true = ordered[max(math.ceil(q * len(ordered)) - 1, 0)] / 1e6
    index = observation.bucket(true)
    low = BOUNDS[index - 1] if index else 0.0
    said = found.quantile(q)
    assert said is not None
    # A bin of the gateway's belongs to the bucket of its middle, so bounds themselves may fall beside.
    assert low * 0.999 <= said <= BOUNDS[min(index + 1, len(BOUNDS) - 1)]
    assert found.minimum is not None
    assert found.maximum is not None
    assert found.minimum <= ordered[0] / 1e6 <= found.minimum * 1.1 + 1e-6
    assert found.maximum >= ordered[-1] / 1e6 >= found.maximum / 1.1 - 1e-6
    assert found.minimum <= said <= found.maximum


def test_of_nothing_there_are_no_times() -> None:
    nothing = Window(seconds=10.0)
    assert (nothing.quantile(0.5), nothing.mean, nothing.minimum, nothing.maximum) == (None,) * 4
    assert (nothing.error_rate, nothing.requests) == (0.0, 0)
    assert window(Tally(route="default/a"), since=0.0, until=1.0) is None


def test_bounds_grow_by_about_a_fifth_and_have_two_digits() -> None:
    assert all(1.15 < b / a < 1.26 for a, b in pairwise(BOUNDS[:-1]))
    assert all(float(f"{bound:.1e}") == bound for bound in BOUNDS[:-1])


@_few
@given(_codes, _calls)
def test_errors_are_what_the_service_is_to_blame_for(codes: dict[int, int], calls: dict[int, int]) -> None:
    found = observation.counted(codes, calls, first_at=1.0, last_at=2.0)
    assert found.requests == sum(codes.values()) + sum(calls.values()) == sum(n for _, n in found.codes)
    to_blame = sum(n for code, n in codes.items() if code in (0, 500, 503))
    # UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what nobody knows
    to_blame += sum(n for status, n in calls.items() if status in (2, 4, 13, 14, 15, 17))
    assert found.errors == to_blame
    assert code_of_call(0) == 200


@_few
@given(st.lists(_tallies(), min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_what_is_new_between_looks_adds_up_to_what_was_counted_also_when_counting_began_anew(
    steps: list[Tally], resets: set[int]
) -> None:
    """Each step is counted on top of those before, or after a reset on its own."""
    now, before, seen, counted = Tally(route="default/a"), None, Window(), Window()
    for number, step in enumerate(steps):
        now = step if number in resets else _sum(now, step)
        counted += window(step, since=0.0, until=5.0) or Window()
        seen += window(grown(before, now), since=0.0, until=5.0) or Window()
        before = now
    if not resets:
        assert _same(replace(seen, seconds=0), replace(counted, seconds=0))
    else:
        # A reset can only be told when some counter is less than it was.
        assert seen.requests <= counted.requests


@_few
@given(_tallies(), _tallies())
def test_a_reset_is_noticed_by_any_counter_that_fell(before: Tally, after: Tally) -> None:
    fewer = replace(after, codes={**after.codes, 200: 1})
    more = replace(before, codes={**before.codes, 200: 2})
    assert grown(more, fewer) == fewer
    assert grown(None, after) == after
    assert grown(after, after).requests == 0


def test_a_process_that_was_started_anew_is_counted_from_nothing() -> None:
    def sample(cpu: dict[str, float], started: float = 0.0) -> Sample:
        return Sample(
            service="d/a", replica="r", revision=1, started_at=started, cpu_seconds=cpu, memory_bytes=100
        )

    def used(before: Sample | None, now: Sample) -> Load:
        return load(before, now, inflight=2, requests=3, since=10.0, until=20.0)

    assert used(sample({"1": 5.0, "2": 1.0}), sample({"1": 6.0, "3": 2.0})).cpu_seconds == pytest.approx(3.0)
    assert used(None, sample({"1": 6.0})).cpu_seconds == 0.0
    young = used(None, sample({"1": 6.0}, started=16.0))
    assert (young.cpu_seconds, young.seconds) == (6.0, 4.0)
    both = young + used(sample({"1": 5.0}), sample({"1": 6.0}))
    assert both.usage().cpu_cores == pytest.approx(7.0 / 14.0)
    assert (both.usage().memory_bytes, both.usage().inflight, both.requests) == (100, 2.0, 6)
    together = observation.together((young, young), seconds=4.0)
    assert (together.cpu_cores, together.memory_bytes) == (3.0, 200)


def _sum(one: Tally, other: Tally) -> Tally:
    def plus(a: object, b: object) -> dict[int, int]:
        return dict(Counter(a) + Counter(b))  # type: ignore[call-overload]

    return Tally(
        route=one.route,
        codes=plus(one.codes, other.codes),
        calls=plus(one.calls, other.calls),
        microseconds=one.microseconds + other.microseconds,
        times=plus(one.times, other.times),
    )


def test_parts_are_told_by_whom_requests_were_for_and_where_they_came_in() -> None:
    own = Tally(route="default/a", share="default/a#3", revision=3)
    weighed = Tally(route="default/shop", share="default/a", revision=2)
    refused = Tally(route="default/a")
    assert [each.part.via for each in (own, weighed, refused)] == ["", "default/shop", ""]
    assert {each.part.service for each in (own, weighed, refused)} == {"default/a"}
    assert tallies.Reading(epoch="1").tallies == ()
