"""Who gets capacity that does not do for everyone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.allotment import Demand, allot, limits
from modelyard.domain.node import Node
from modelyard.domain.placement import Request

CORES = (Node(name="here", cpu_millis=4000, memory_bytes=8 << 30),)


def demand(key: str, wanted: int, *, cpu: int = 1000, **changes: int) -> Demand:
    fields = {"id": len(key), "rank": 1, "guaranteed": 1, "running": 0, **changes}
    return Demand(key=key, wanted=wanted, request=Request(cpu_millis=cpu), **fields)


def test_a_higher_priority_takes_what_is_beyond_the_guarantee() -> None:
    low, high = demand("low", 3, rank=2, running=3), demand("high", 3, rank=0, running=1)
    assert allot([low, high], CORES) == {"low": 1, "high": 3}
    assert limits([low, high], {"low": 1, "high": 3}) == {"low": 1}


def test_a_guaranteed_replica_goes_before_a_higher_priority() -> None:
    low, high = demand("low", 1, rank=2), demand("high", 9, rank=0, running=4)
    assert allot([low, high], CORES) == {"low": 1, "high": 3}


def test_a_guarantee_is_never_taken_away_though_it_does_not_fit() -> None:
    low, high = demand("low", 3, rank=2, guaranteed=3, running=3), demand("high", 4, rank=0, guaranteed=4)
    granted = allot([low, high], CORES)
    assert granted == {"low": 0, "high": 4}
    assert limits([low, high], granted) == {}


def test_equals_do_not_take_from_one_another() -> None:
    old, young = demand("o", 3, running=1), demand("yy", 3, running=3)
    assert allot([old, young], CORES) == {"o": 1, "yy": 3}


def test_what_reserves_nothing_has_room() -> None:
    assert allot([demand("a", 4), demand("b", 50, cpu=0)], CORES) == {"a": 4, "b": 50}


demands = st.lists(
    st.builds(
        Demand,
        key=st.just(""),
        id=st.just(0),
        rank=st.integers(0, 2),
        wanted=st.integers(0, 6),
        guaranteed=st.integers(0, 6),
        running=st.integers(0, 6),
        request=st.builds(Request, cpu_millis=st.sampled_from([0, 250, 500, 1000, 3000])),
    ),
    max_size=6,
).map(
    lambda found: [
        Demand(
            key=f"d{n}", id=n, rank=d.rank, wanted=d.wanted, guaranteed=d.guaranteed,
            running=d.running, request=d.request,
        )
        for n, d in enumerate(found)
    ]
)  # fmt: skip


@given(demands)
@settings(max_examples=200)
def test_capacity_is_never_exceeded_and_no_guarantee_starves(found: list[Demand]) -> None:
    granted = allot(found, CORES)
    assert sum(granted[d.key] * d.request.cpu_millis for d in found) <= 4000
    assert all(0 <= granted[d.key] <= d.wanted for d in found)
    kept = {d.key: min(d.wanted, d.guaranteed) for d in found}
    if sum(kept[d.key] * d.request.cpu_millis for d in found) <= 4000:
        assert all(granted[d.key] >= kept[d.key] for d in found)
    for key, limit in limits(found, granted).items():
        assert kept[key] <= limit < next(d.wanted for d in found if d.key == key)


@given(demands, st.randoms())
@settings(max_examples=60)
def test_the_order_of_asking_does_not_matter(found: list[Demand], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert allot(found, CORES) == allot(shuffled, CORES)


@given(demands)
@settings(max_examples=100)
def test_once_everyone_has_what_it_may_nothing_changes(found: list[Demand]) -> None:
    granted = allot(found, CORES)
    settled = [
        Demand(
            key=d.key, id=d.id, rank=d.rank, wanted=d.wanted, guaranteed=d.guaranteed,
            running=granted[d.key], request=d.request,
        )
        for d in found
    ]  # fmt: skip
    assert allot(settled, CORES) == granted
