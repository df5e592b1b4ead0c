"""How far a rollout is: recorded after every look, so that whoever looks next goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire


class Stand(StrEnum):
    """Where a rollout stands."""

    PREPARING = "preparing"
    """Replicas that the next step needs are not ready yet."""
    PROGRESSING = "progressing"
    """The step's requests are judged."""
    PAUSED = "paused"
    """It stays at its step until somebody resumes it; gates still count."""
    AWAITING = "awaiting approval"
    """The step is over and was good; the next one waits for somebody to resume."""
    KEEPING = "keeping"
    """The new revision gets all requests, and the old one is kept ready for a while."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


OVER = (Stand.PROMOTED, Stand.ROLLED_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Memory of one replica: when it was first looked at, and last."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    replica: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one gate has counted, and what follows from it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    gate: str
    """As it is written: `errors=1%`."""
    samples: int = 0
    """Requests, or comparisons, of the new revision."""
    bad: int = 0
    base_samples: int = 0
    """Of the old revision at the same time and shortly before."""
    base_bad: int = 0
    evidence: tuple[float, ...] = ()
    """Against the new revision, by alternative; see `sequential`."""
    histogram: tuple[int, ...] = ()
    """The old revision's times to an answer, by bucket."""
    grown: tuple[Grown, ...] = ()
    waits: bool = False
    """Too little was seen to let the step pass."""
    failed: bool = False
    message: str = ""
    """The numbers, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one revision did in a while."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    requests: int = 0
    errors: int = 0
    histogram: tuple[int, ...] = ()
    """Requests by their time to an answer, by bucket of `observation.BOUNDS`, without trailing zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """What has been counted of the newest intervals, to which measures may still be added."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    since: float
    new: Counts
    old: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """One rollout of one revision, from the base that it should replace."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    base: int
    """The good revision that serves until the new one has proven itself."""
    revision: int
    stand: Stand = Stand.PREPARING
    step: int = 0
    """Which of the strategy's steps, from 0."""
    weights: tuple[tuple[int, int], ...] = ()
    """Revision to percent of the requests; empty when all ready replicas share them."""
    since: float = 0.0
    """When the step began."""
    started_at: float = 0.0
    judged_until: float = 0.0
    """What happened before this moment has been counted."""
    tail: Tail | None = None
    requests: int = 0
    """That the new revision answered in this step."""
    tallies: tuple[Tally, ...] = ()
    message: str = ""
    """What it waits for, or what decided it, with numbers."""
    decided_by: str = ""
    """Who promoted it or rolled it back: a gate as it is written, or a user."""

    @property
    def is_over(self) -> bool:
        """Whether it was decided."""
        return self.stand in OVER

    def weight(self, revision: int) -> int:
        """Percent of the requests that a revision is to get; 0 for one that is not named."""
        return dict(self.weights).get(revision, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What users say about the rollout of one revision; for any other it counts for nothing."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    revision: int = 0
    paused: bool = False
    approved: int = 0
    """Steps up to this many percent need nobody's approval any more."""
    aborted: bool = False
    plain: bool = False
    """Replace replicas one after another, whatever the strategy: a restart, a way back."""
    by: str = ""
