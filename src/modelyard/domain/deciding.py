"""The autoscaler's decision: the clock first, then sleep and waking, then load with patience: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from modelyard.domain import timetable
from modelyard.domain.autoscaling import Autoscaling, Metric, targets
from modelyard.domain.following import Call, Load, call

_ASLEEP = "asleep; a request wakes it"
LONGEST_STEP_SECONDS = 15.0
"""So much time passes at most between two looks, whatever the clock says."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the autoscaler remembers of one deployment from look to look.

    Its time is its own: it goes on by what lies between two looks, within bounds, so that a clock that was
    set back or forward neither puts a service to sleep nor keeps it big.
    """

    looked_at: float
    age: float = 0.0
    idle_seconds: float = 0.0
    calls: tuple[tuple[float, int], ...] = ()
    """What load called for, and at which age."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there should be, and why."""

    desired: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything a decision depends on beside memory and load."""

    scaling: Autoscaling
    replicas: int
    """What the user wants where neither load nor clock decides."""
    current: int
    """What was decided before."""
    hour: int
    """Of the day, in the deployment's time zone."""
    edited: bool = False
    """Whether its user changed it since the last look."""


def decide(question: Question, memory: Memory, load: Load, *, now: float) -> tuple[Decision, Memory]:
    """The decision, and what to remember until the next look. Load never takes it beyond min and max."""
    scaling = question.scaling
    busy = load.busy or bool(load.waiting) or question.edited
    memory = _advanced(memory, now, busy=busy, idle=load.known)
    hours = timetable.at(timetable.parse(scaling.cron), question.hour)
    if hours is not None:
        return Decision(hours.replicas, "Clock", f"from {hours.begin} to {hours.end} h"), memory
    if not scaling.by_load:
        return Decision(question.replicas, "Replicas", "the clock says nothing at this hour"), memory
    if scaling.min == 0 and memory.idle_seconds >= scaling.idle_seconds:
        said = f"no request for {scaling.idle_seconds:g} s"
        return Decision(0, "Idle", said), replace(memory, calls=())
    if question.current <= 0:
        return (_awake(question, load) if busy or scaling.min else Decision(0, "Idle", _ASLEEP)), memory
    return _followed(question, memory, load)


def _advanced(memory: Memory, now: float, *, busy: bool, idle: bool) -> Memory:
    step = min(max(now - memory.looked_at, 0.0), LONGEST_STEP_SECONDS)
    return replace(
        memory,
        looked_at=now,
        age=memory.age + step,
        idle_seconds=0.0 if busy else memory.idle_seconds + step * idle,
    )


def _awake(question: Question, load: Load) -> Decision:
    """From none, because somebody asks, or the clock no longer forbids it."""
    scaling = question.scaling
    each = next((t.value for t in targets(scaling.on) if t.metric is Metric.CONCURRENCY), 0.0)
    many = -int(-load.waiting // each) if each else 1
    message = f"{load.waiting} requests wait" if load.waiting else "it is asked for again"
    return Decision(_within(scaling, max(many, 1)), "Woken", message)


def _followed(question: Question, memory: Memory, load: Load) -> tuple[Decision, Memory]:
    scaling, current = question.scaling, _within(question.scaling, question.current)
    called = call(targets(scaling.on), load, current=current) or Call(current, "nothing is measured")
    count = _within(scaling, called.replicas)
    # The number that there was counts as called for when memory begins.
    before = memory.calls or ((memory.age, current),)
    up = min([count, *_lately(before, memory.age, scaling.up_seconds)])
    down = max([count, *_lately(before, memory.age, scaling.down_seconds)])
    longest = max(scaling.up_seconds, scaling.down_seconds)
    kept = tuple((age, n) for age, n in before if memory.age - age < longest)
    memory = replace(memory, calls=(*kept, (memory.age, count)))
    settled = min(max(current, up), down)
    return Decision(settled, "Load", called.words), memory


def _lately(calls: Iterable[tuple[float, int]], age: float, seconds: float) -> Iterator[int]:
    return (count for at, count in calls if age - at < seconds)


def _within(scaling: Autoscaling, count: int) -> int:
    """Load alone never puts a service to sleep."""
    return min(max(count, scaling.min, 1), scaling.max)
