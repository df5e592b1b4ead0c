"""In which order tasks begin that wait for a place, and why one still waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.placement import Claim, Placement, Request, Unfit, place
from modelyard.domain.priority import Level

LEAST_PLACES = 2
"""So many tasks may always run at once, however small the machine is."""


class State(StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A task that wants to begin."""

    id: str
    project: str
    arrived: int
    """Its number: who came earlier has a smaller one."""
    level: Level = Level.NORMAL
    request: Request = field(default_factory=Request)
    """Beside its place: cards of one node, all of them or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A task that runs."""

    project: str
    claim: Claim = field(default_factory=Claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What tasks are given."""

    places: int
    """How many may run at once."""
    own: Mapping[str, int] = field(default_factory=dict)
    """How many of these places are a project's own; a project that is not here only borrows."""
    nodes: Sequence[Node] = ()
    held: Sequence[Claim] = ()
    """What services hold of the nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A task that begins now."""

    id: str
    placement: Placement | None = None
    """Where its cards are; None for a task without."""
    borrows: bool = False
    """Whether its place is beyond those of its project's own, where any project has some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A task that goes on waiting."""

    id: str
    position: int
    """1 is the next."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A task as people see it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    subject: str
    """What it tries, such as `churn@3`."""
    kind: str
    """`inspect` when a version is validated, `test` for a test, `survey` when a volume is looked at."""
    state: State
    level: Level = Level.NORMAL
    position: int = 0
    """Of those that wait, 1 is the next; 0 for one that runs, or where another queue decides."""
    why: str = ""
    """Why it waits."""
    borrows: bool = False
    """Whether it runs in a place beyond those of its project's own."""
    since: datetime
    """When it came."""


def places_of(nodes: Sequence[Node], wanted: int = 0) -> int:
    """How many tasks may run at once: what was said, or one for each core of the nodes for computing."""
    if wanted > 0:
        return wanted
    cores = sum(n.cpu_millis for n in nodes if NodeClass.COMPUTE in n.classes and n.ready) // 1000
    return max(LEAST_PLACES, cores)


def decide(
    waiting: Sequence[Waiting], running: Sequence[Held], room: Room
) -> tuple[tuple[Begin, ...], tuple[Wait, ...]]:
    """Which tasks begin now, and why the others wait; what runs is never ended.

    Places of a project's own are given first, then what is left is lent; each in order of priority, and of
    arrival within that. Who waits for cards lets others pass that want none of these, and nobody who does.
    """
    used = Counter(each.project for each in running)
    giving = _Giving(room, left=room.places - len(running), held=[*room.held, *(r.claim for r in running)])
    borrowing: list[Waiting] = []
    for task in sorted(waiting, key=lambda each: (each.level.rank, each.arrived)):
        if used[task.project] >= room.own.get(task.project, 0):
            borrowing.append(task)
        elif giving.tried(task, borrows=False):
            used[task.project] += 1
    for task in borrowing:
        giving.tried(task, borrows=True)
    return tuple(giving.begins), tuple(giving.waits)


@dataclass(slots=True)
class _Giving:
    """What is left while it is given, one task after the other."""

    room: Room
    left: int
    held: list[Claim]
    before: list[Request] = field(default_factory=list)
    """Of tasks that wait for cards, which are not taken from under them."""
    begins: list[Begin] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)

    def tried(self, task: Waiting, *, borrows: bool) -> bool:
        """Whether the task begins."""
        found = _fits(task, self.room, self.held, self.before)
        if not isinstance(found, Unfit) and self.left > 0:
            self.left -= 1
            lent = borrows and any(self.room.own.values())
            self.begins.append(Begin(id=task.id, placement=found, borrows=lent))
            self.held += [] if found is None else [Claim(node=found.node, gpus=found.gpus)]
            return True
        why = found.message if isinstance(found, Unfit) else _full(task, self.room, borrows=borrows)
        self.waits.append(Wait(id=task.id, position=len(self.waits) + 1, why=why))
        if task.request.gpus and not (isinstance(found, Unfit) and found.impossible):
            self.before.append(task.request)
        return False


def _fits(
    task: Waiting, room: Room, held: Sequence[Claim], before: Sequence[Request]
) -> Placement | Unfit | None:
    """Cards for the task, or why there are none yet; None when it wants none."""
    if not task.request.gpus:
        return None
    found = place(task.request, room.nodes, held, node_class=NodeClass.COMPUTE)
    if isinstance(found, Placement) and any(_compete(task.request, other) for other in before):
        return Unfit(message="another task that waits for such cards is before it")
    return found


def _compete(one: Request, other: Request) -> bool:
    """Whether two requests could be for the same card."""
    return not one.models or not other.models or bool({*one.models} & {*other.models})


def _full(task: Waiting, room: Room, *, borrows: bool) -> str:
    one = "the one place for validation and tests is taken"
    said = f"all {room.places} places for validation and tests are taken" if room.places > 1 else one
    if not borrows or not any(room.own.values()):
        return said
    mine = room.own.get(task.project, 0)
    if not mine:
        return f"{said}; project {task.project} has none of its own, and borrows what others leave"
    return f"{said}; project {task.project} has its {mine} already, and borrows what others leave"
