"""A project's quota: what it leaves to whom, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import quota
from modelyard.domain.allotment import Demand
from modelyard.domain.errors import Invalid
from modelyard.domain.placement import Request
from modelyard.domain.quota import Quota

GI = 1 << 30
ONE = Request(cpu_millis=1000, memory_bytes=GI)


def demand(number: int, **changes: object) -> Demand:
    """A service that wants two replicas of one core and one GiB each, and has none."""
    known: dict[str, object] = {
        "key": f"p/{number}", "id": number, "rank": 1, "wanted": 2, "guaranteed": 2, "running": 0,
        "request": ONE,
    }  # fmt: skip
    return Demand(**(known | changes))  # type: ignore[arg-type]


def granted(limits: Quota, *demands: Demand) -> list[int]:
    found = quota.shares(limits, demands, project="p")
    return [found[each.key].replicas for each in demands]


@pytest.mark.parametrize(
    "text", ["", "none", "cpu=8", "cpu=500m,memory=32Gi,gpus=2,replicas=0", "cpu=1,tasks=2", "tasks=0"]
)
def test_what_is_written_is_read_back(text: str) -> None:
    assert quota.write(quota.parse(text)) == text.replace("none", "")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cores=8", r"'cores=8' is not part of a quota; write such as `cpu=8,memory=32Gi"),
        ("cpu=8,cpu=9", "'cpu=9' is not part"),
        ("gpus=many", "'gpus=many' is not part"),
        ("cpu=", "'cpu=' is not part"),
        ("tasks=many", "'tasks=many' is not part of a quota; .*tasks=2"),
        ("tasks=1000000", "spec.quota.tasks: must be between 0 and 100000"),
        ("memory=lots", r"spec.quota.memory: .*'lots'.* is not an amount of memory"),
        ("replicas=1000000", "spec.quota.replicas: must be between 0 and 100000"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(text: str, what: str) -> None:
    with pytest.raises(Invalid, match=what):
        quota.parse(text)


def test_what_is_not_limited_is_not_divided() -> None:
    assert granted(Quota(), demand(1, wanted=100)) == [100]
    assert granted(Quota(gpus=0), demand(1)) == [2], "who asks for no card needs none"


def test_what_runs_stays_and_the_others_share_what_is_left_of_it() -> None:
    assert granted(Quota(cpu="3"), demand(1), demand(2)) == [2, 1]
    assert granted(Quota(cpu="3"), demand(1), demand(2, running=2)) == [1, 2]
    assert granted(Quota(cpu="1"), demand(1, running=2), demand(2)) == [2, 0], (
        "nothing that runs is taken away"
    )


def test_guaranteed_replicas_and_then_priority_go_first() -> None:
    assert granted(Quota(replicas=2), demand(1, guaranteed=0), demand(2, guaranteed=1)) == [1, 1]
    assert granted(Quota(replicas=2), demand(1), demand(2, rank=0)) == [0, 2]


def test_it_says_what_there_is_too_little_of() -> None:
    share = quota.shares(Quota(memory="3Gi"), [demand(1), demand(2)], project="p")["p/2"]
    assert share.lacking == "memory"
    assert share.why == "the quota of project p is 3Gi memory: 3Gi in use, 1Gi more needed"


def test_where_memory_is_limited_a_service_says_what_it_needs() -> None:
    share = quota.shares(Quota(memory="3Gi"), [demand(1, request=Request())], project="p")["p/1"]
    assert share.replicas == 0
    assert share.why.endswith("so that each of its services says what a replica needs: --memory")


def test_a_part_of_a_card_counts_as_a_card() -> None:
    parts = demand(1, wanted=3, guaranteed=3, request=Request(part="0.2"))
    assert granted(Quota(gpus=2), parts) == [2]


def test_a_wish_is_refused_as_a_whole() -> None:
    found = quota.refusal(Quota(replicas=3), demand(2), [demand(1)], project="p")
    assert found is not None
    assert found.why == "the quota of project p is 3 replicas: 2 in use, 2 more needed"
    assert quota.refusal(Quota(replicas=4), demand(2), [demand(1)], project="p") is None
    assert quota.refusal(Quota(replicas=0), demand(2, wanted=0), [demand(1)], project="p") is None


def test_less_than_before_is_never_refused() -> None:
    assert quota.is_within(demand(1, wanted=1), demand(1))
    assert not quota.is_within(demand(1, request=Request(cpu_millis=2500, memory_bytes=GI)), demand(1))


demands = st.lists(
    st.builds(
        lambda rank, wanted, guaranteed, running, cores: (rank, wanted, guaranteed, running, cores),
        st.integers(0, 2), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4),
    ),
    max_size=5,
)  # fmt: skip


@given(demands, st.integers(0, 30))
def test_no_more_is_given_than_there_is_and_nothing_that_runs_taken(
    wishes: list[tuple[int, int, int, int, int]], cores: int
) -> None:
    known = [
        demand(
            number, rank=rank, wanted=wanted, guaranteed=guaranteed, running=min(running, wanted),
            request=Request(cpu_millis=1000 * size),
        )
        for number, (rank, wanted, guaranteed, running, size) in enumerate(wishes)
    ]  # fmt: skip
    found = quota.shares(Quota(cpu=str(cores)), known, project="p")
    for each in known:
        assert min(each.running, each.wanted) <= found[each.key].replicas <= each.wanted
        assert bool(found[each.key].why) == (found[each.key].replicas < each.wanted)
    running = sum(each.running * each.request.cpu_millis for each in known)
    given_away = sum(found[each.key].replicas * each.request.cpu_millis for each in known)
    assert given_away <= max(1000 * cores, running)


def test_places_for_tasks_limit_no_service() -> None:
    assert Quota(tasks=0).bounds() == {}
    assert granted(Quota(tasks=0), demand(1)) == [2]
