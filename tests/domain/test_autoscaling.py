"""How many replicas follow from load, clock and sleep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import scaling, timetable
from modelyard.domain.autoscaling import Autoscaling, Metric, ScalingStatus, Target, targets
from modelyard.domain.deciding import Decision, Memory, Question, decide
from modelyard.domain.deployment import DeploymentSpec, DeploymentStatus, Resources, Stage
from modelyard.domain.errors import Invalid
from modelyard.domain.following import Load, ReplicaLoad, call
from modelyard.domain.priority import Priority
from tests.domain.make import deployment

BY_CONCURRENCY = Autoscaling(min=1, max=10, on="concurrency:8", down_seconds=60)


def test_the_grammar() -> None:
    assert targets("cpu:50%, mem:%50,gpu:5%,concurrency:8,qps:0.5") == (
        Target(Metric.CPU, 0.5),
        Target(Metric.MEM, 0.5),
        Target(Metric.GPU, 0.05),
        Target(Metric.CONCURRENCY, 8),
        Target(Metric.QPS, 0.5),
    )
    assert targets("memory:80%") == (Target(Metric.MEM, 0.8),)
    assert targets("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("disk:50%", "'disk' is not a metric; there are cpu, mem, gpu, concurrency, qps"),
        ("cpu:50", "write a percentage from 1 to 1000, as cpu:50%"),
        ("cpu:%50%", "write a percentage"),
        ("mem:101%", "from 1 to 100"),
        ("cpu:0%", "write a percentage"),
        ("qps:0", "write a number above 0"),
        ("qps:-1", "write a number above 0"),
        ("concurrency:8%", "write a number above 0"),
        ("concurrency", "write a number above 0"),
        ("cpu:50%,,", "'' is not a metric"),
        ("qps:1,qps:2", "qps is there twice"),
    ],
)
def test_what_is_no_target_is_refused_with_its_remedy(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=r"^spec.autoscaling.on: ") as refused:
        Autoscaling(max=3, on=text)
    assert said in refused.value.message
    assert refused.value.errors[0].path == "spec.autoscaling.on"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"min": 3, "max": 2, "on": "qps:1"}, "min"),
        ({"min": -1}, "min"),
        ({"max": 3}, "on"),
        ({"idle_seconds": 0}, "idle_seconds"),
        ({"hold_requests": -1}, "hold_requests"),
        ({"cron": "9~21"}, "cron"),
    ],
)
def test_bounds_are_checked(fields: dict[str, object], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Autoscaling(**fields)  # type: ignore[arg-type]
    assert refused.value.errors[0].path == f"spec.autoscaling.{path}"


@pytest.mark.parametrize("on", ["cpu:50%", "mem:50%", "gpu:50%"])
def test_a_part_of_nothing_is_refused(on: str) -> None:
    scaled = Autoscaling(max=3, on=on)
    with pytest.raises(Invalid, match="which is 0; set it, or scale on concurrency"):
        DeploymentSpec(model="a", autoscaling=scaled)
    DeploymentSpec(model="a", autoscaling=scaled, resources=Resources(cpu="1", memory="1Gi", gpu="1"))


@pytest.mark.parametrize(
    "text", ["9~21", "9~9:1", "25~3:1", "9~25:1", "a~b:1", "9~21:1001", "9~12:1,11~13:2"]
)
def test_what_is_no_timetable_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cron: "):
        timetable.parse(text, "cron")


def test_a_timetable() -> None:
    ranges = timetable.parse("9~21:3,21~9:0")
    assert [timetable.at(ranges, hour).replicas for hour in (0, 8, 9, 20, 21, 23)] == [0, 0, 3, 3, 0, 0]  # type: ignore[union-attr]
    assert timetable.at(timetable.parse("9~21:3"), 8) is None


@given(st.lists(st.integers(0, 400), min_size=2, max_size=60), st.integers(0, 23))
@settings(max_examples=60)
def test_a_timetable_fires_once_for_each_hour_that_changes_it(steps: list[int], start: int) -> None:
    """However the clock runs, also back, there are never more changes than borders passed."""
    scaled = Autoscaling(cron="9~21:3,21~9:1")
    memory, minute, before, changes, borders = Memory(0.0), start * 60, None, 0, 0
    for step in steps:
        earlier, minute = minute, minute + step - 100
        hour, was = minute // 60 % 24, earlier // 60 % 24
        borders += (9 <= hour < 21) != (9 <= was < 21)
        question = Question(scaling=scaled, replicas=1, current=before or 1, hour=hour)
        decision, memory = decide(question, memory, Load(busy=True), now=minute * 60.0)
        again, memory = decide(question, memory, Load(busy=True), now=minute * 60.0)
        assert again == decision
        assert decision.desired == (3 if 9 <= hour < 21 else 1)
        changes += before is not None and decision.desired != before
        before = decision.desired
    assert changes <= borders


@pytest.mark.parametrize(
    ("total", "current", "replicas"),
    [(0, 3, 0), (22, 1, 3), (8.5, 1, 1), (8.9, 1, 2), (16, 2, 2), (14.5, 2, 2), (14, 2, 2), (80, 2, 10)],
)
def test_requests_in_flight_are_divided_among_replicas(total: float, current: int, replicas: int) -> None:
    called = call(targets("concurrency:8"), Load(totals={Metric.CONCURRENCY: total}), current=current)
    assert called is not None
    assert called.replicas == replicas


def parts(*values: float | None, coming: int = 0) -> Load:
    measured = [ReplicaLoad(ready=True, parts={} if v is None else {Metric.CPU: v}) for v in values]
    return Load(replicas=(*measured, *[ReplicaLoad(ready=False)] * coming))


@pytest.mark.parametrize(
    ("load", "current", "replicas"),
    [
        (parts(0.9), 1, 2),
        (parts(0.54), 1, 1),
        (parts(0.9, 0.9), 2, 4),
        (parts(0.1, 0.1), 2, 1),
        # One that starts may take over what is too much for the other.
        (parts(0.9, coming=1), 2, 2),
        (parts(2.0, coming=1), 2, 4),
        (parts(0.9), 2, 2),
        # One that says nothing is idle when it would be more, and busy when it would be less.
        (parts(0.9, None), 2, 2),
        (parts(0.1, None), 2, 2),
        (parts(0.1, 0.1, 0.1, None), 4, 3),
        (parts(None), 2, None),
        (parts(), 2, None),
    ],
)
def test_a_mean_over_replicas(load: Load, current: int, replicas: int | None) -> None:
    called = call(targets("cpu:50%"), load, current=current)
    assert (called and called.replicas) == replicas


def test_the_metric_that_asks_for_most_counts_and_a_missing_one_keeps() -> None:
    both = targets("cpu:50%,concurrency:8")
    busy = Load(replicas=parts(0.6).replicas, totals={Metric.CONCURRENCY: 30})
    assert call(both, busy, current=1) == call(targets("concurrency:8"), busy, current=1)
    quiet = Load(totals={Metric.CONCURRENCY: 1})
    called = call(both, quiet, current=3)
    assert called is not None
    assert called.replicas == 3


loads = st.builds(
    lambda cpu, coming, total: (cpu, coming, total),
    st.lists(st.one_of(st.none(), st.floats(0, 5)), min_size=0, max_size=5),
    st.integers(0, 3),
    st.floats(0, 500),
)


def _load(cpu: list[float | None], coming: int, total: float, factor: float = 1.0) -> Load:
    values = [None if v is None else v * factor for v in cpu]
    return replace(parts(*values, coming=coming), totals={Metric.CONCURRENCY: total * factor}, busy=True)


@given(loads, st.floats(1, 10), st.integers(1, 10))
@settings(max_examples=200)
def test_more_load_never_calls_for_fewer(
    load: tuple[list[float | None], int, float], factor: float, current: int
) -> None:
    one, more = (
        call(targets("cpu:50%,concurrency:8"), _load(*load, f), current=current) for f in (1.0, factor)
    )
    assert one is not None
    assert more is not None
    assert more.replicas >= one.replicas


@given(
    st.lists(st.tuples(loads, st.floats(-5000, 5000), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(0, 20),
)
@settings(max_examples=100)
def test_load_never_leaves_the_bounds(
    looks: list[tuple[tuple[list[float | None], int, float], float, bool]], low: int, more: int, current: int
) -> None:
    scaled = Autoscaling(min=low, max=max(low + more, 1), on="cpu:50%,concurrency:8", idle_seconds=30)
    memory, now = Memory(0.0), 0.0
    for load, step, busy in looks:
        now += step
        question = Question(scaling=scaled, replicas=2, current=current, hour=5)
        decision, memory = decide(question, memory, replace(_load(*load), busy=busy), now=now)
        current = decision.desired
        assert scaled.min == scaled.max or scaled.min <= current <= scaled.max


def _look(
    memory: Memory, now: float, current: int, load: Load, scaled: Autoscaling = BY_CONCURRENCY
) -> tuple[Decision, Memory]:
    return decide(Question(scaling=scaled, replicas=1, current=current, hour=5), memory, load, now=now)


def _inflight(total: float) -> Load:
    return Load(totals={Metric.CONCURRENCY: total}, busy=total > 0)


def test_more_come_at_once_and_fewer_only_after_a_while() -> None:
    first, memory = _look(Memory(0.0), 2.0, 1, _inflight(22))
    assert first == Decision(3, "Load", "concurrency 22 of 8 per replica")
    desired, at = [], 2.0
    for _ in range(40):
        at += 2.0
        decision, memory = _look(memory, at, (desired or [3])[-1], _inflight(4))
        desired.append(decision.desired)
    assert desired[:29] == [3] * 29
    assert desired[-1] == 1


def test_more_wait_for_their_window_too() -> None:
    slow = replace(BY_CONCURRENCY, up_seconds=20)
    memory, desired = Memory(0.0), [1]
    for at in range(2, 40, 2):
        decision, memory = _look(memory, float(at), desired[-1], _inflight(22), slow)
        desired.append(decision.desired)
    assert desired[:10] == [1] * 10
    assert desired[-1] == 3


def test_a_service_sleeps_when_idle_and_wakes_for_a_request() -> None:
    scaled = Autoscaling(min=0, max=4, on="concurrency:8", idle_seconds=30)
    memory, current, slept_at = Memory(0.0), 2, 0.0
    for at in range(2, 60, 2):
        decision, memory = _look(memory, float(at), current, Load(), scaled)
        if decision.desired == 0 and not slept_at:
            slept_at = at
        current = decision.desired
    assert slept_at == 30
    assert _look(memory, 62.0, 0, Load(), scaled)[0].desired == 0
    woken, memory = _look(memory, 62.0, 0, Load(waiting=20), scaled)
    assert woken == Decision(3, "Woken", "20 requests wait")


def test_a_clock_that_jumps_puts_nothing_to_sleep() -> None:
    scaled = Autoscaling(min=0, max=1, idle_seconds=30)
    _, memory = _look(Memory(0.0), 2.0, 1, Load(), scaled)
    for now in (90_000.0, 10.0):
        decision, memory = _look(memory, now, 1, Load(), scaled)
        assert decision.desired == 1


def test_the_clock_counts_before_load_and_load_after_it() -> None:
    scaled = replace(BY_CONCURRENCY, cron="9~21:0")
    question = Question(scaling=scaled, replicas=1, current=2, hour=12)
    assert decide(question, Memory(0.0), _inflight(80), now=2.0)[0] == Decision(0, "Clock", "from 9 to 21 h")
    later = replace(question, hour=22, current=0)
    assert decide(later, Memory(0.0), Load(), now=2.0)[0].desired == 1


def scaled_to(desired: int, reason: str = "Load", granted: int = -1, **changes: object) -> int:
    status = DeploymentStatus(scaling=ScalingStatus(desired=desired, reason=reason, granted=granted))
    return scaling.wanted(deployment(status=status, **changes))


def test_what_is_wanted() -> None:
    by_load = {"autoscaling": Autoscaling(min=2, max=5, on="qps:1")}
    assert scaled_to(4) == 1
    assert scaled_to(4, **by_load) == 4
    assert scaled_to(-1, **by_load) == 2
    assert scaled_to(9, **by_load) == 5
    assert scaled_to(0, "Clock", **by_load) == 0
    assert scaled_to(4, **by_load, replicas=0) == 0
    assert scaled_to(4, granted=3, **by_load) == 3
    assert scaled_to(4, granted=0, **by_load) == 2
    assert scaled_to(-1, granted=0, replicas=3) == 3
    assert scaled_to(-1, granted=0, replicas=3, priority=Priority(guaranteed=1)) == 1


def test_only_production_scales_and_the_others_say_so() -> None:
    tested = replace(deployment(autoscaling=BY_CONCURRENCY, replicas=2), stage=Stage.TEST)
    assert scaling.wanted(tested) == 2
    said = scaling.ignored(tested.key, tested.spec)
    assert said == "autoscaling counts only in production; churn@test keeps 2 replicas"
    assert not scaling.ignored(replace(tested.key, stage=Stage.PRODUCTION), tested.spec)


def test_who_gave_its_host_away_or_leaves_is_not_woken() -> None:
    asleep = deployment(autoscaling=Autoscaling(min=0))
    asleep = replace(asleep, status=DeploymentStatus(scaling=ScalingStatus(desired=0, reason="Idle")))
    assert scaling.sleeps(asleep)
    for gone in (
        replace(asleep, deleting=True),
        replace(asleep, claim=replace(asleep.claim, yielded_to="default/other")),
    ):
        assert scaling.waking(gone) is None
        assert not scaling.sleeps(gone)
        assert scaling.wanted(gone) == 0
