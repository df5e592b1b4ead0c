"""Job: one prediction on its way. Work: one call to the model, for one job or several."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from modelyard.oip.tensor import Tensor, total_bytes
from modelyard.serving.batching.merging import Pieces
from modelyard.serving.errors import Problem

HIGHEST_PRIORITY, USUAL_PRIORITY, LOWEST_PRIORITY = 1, 5, 9


class Prediction(NamedTuple):
    """What a worker answered."""

    outputs: tuple[Tensor, ...]
    infer_seconds: float
    preprocess_seconds: float = 0.0
    """Of `infer_seconds`, what the model's own preparation of the input took."""


class Together(Protocol):
    """Answers several requests that shared a call, without a prediction of its own for each."""

    def written(self, work: Work, outcome: Prediction) -> Sequence[Any] | None:
        """What each job of the call is answered; None when each needs its own prediction after all."""

    def answer(self, answers: Sequence[tuple[Any, Any]], outcome: Prediction) -> None:
        """Answer jobs, which are settled, with what was written for each."""


# Without slots, so that what few jobs have costs the others nothing: what is not set is the class's own.
@dataclass(eq=False)
class Job:
    """One prediction on its way; `done` is called once, when it is known what came of it."""

    inputs: tuple[Tensor, ...]
    parameters: Mapping[str, Any]
    deadline: float
    """On the monotonic clock, like all times here."""
    timeout_seconds: float
    submitted_at: float
    done: Callable[[Prediction | Problem], None]
    on_part: Callable[[Prediction], None] | None = None
    """Called for each value that a model's generator yields, before `done`, which then comes without outputs.

    A model that returns its answer at once has no parts: `done` gets all of it.
    """
    priority: int = USUAL_PRIORITY
    """1 goes first, 9 last."""
    begun_at: float = 0.0
    """When a worker got it; 0 while it waits."""
    merge_seconds: float = 0.0
    """What joining it with others, and cutting the answer up, took."""
    answered_at: float = 0.0
    crashes: int = 0
    """Workers whose process ended while it was inside."""
    cacheable: bool = True
    """Whether an answer that was kept for an equal request will do."""
    cache_status: str = ""
    """What the response cache did for it; empty when it was not asked."""
    kind: Hashable = None
    """What it must have in common with others to share a call; made when first needed."""
    work: Work | None = None
    flight: Any = None
    """The call that it waits for together with equal requests."""
    settled: bool = False
    together: Together | None = None
    """Who can answer it with others that shared its call."""
    rows: int = -1
    """How many rows all its inputs have, 0 when they do not agree; -1 when nobody has looked."""
    size: int = -1
    """Bytes of its inputs; -1 when nobody has looked."""

    @property
    def weight(self) -> int:
        """Bytes of its inputs."""
        if self.size < 0:
            self.size = total_bytes(self.inputs)
        return self.size

    def settle(self, outcome: Prediction | Problem) -> None:
        """Tell the asker; what comes after the first time is dropped."""
        if not self.settled:
            done = self.done
            self.forget()
            done(outcome)

    def forget(self) -> None:
        """Drop what comes, and let go of the asker: a ring of references would keep large tensors alive."""
        self.settled = True
        self.done = _dropped
        self.on_part = None


@dataclass(slots=True, eq=False)
class Work:
    """One call to the model."""

    jobs: tuple[Job, ...]
    rows: tuple[int, ...]
    """How many of them are each job's."""
    parameters: Mapping[str, Any]
    deadline: float
    """The latest of the jobs'."""
    begun_at: float
    streams: bool = False
    """Whether its answer is wanted in parts."""
    runner: Any = field(default=None, repr=False)
    pieces: tuple[Pieces, ...] = ()
    """The rows of several jobs, where they lie; empty for one job."""
    front_seconds: float = 0.0
    """What the front spent on bringing large tensors to the worker and the answer back."""
    worker_seconds: float = 0.0
    """What the worker spent on that."""
    _joined: tuple[Tensor, ...] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The jobs' rows, one below the other, in one piece."""
        if not self.pieces:
            return self.jobs[0].inputs
        if not self._joined:
            self._joined = tuple(pieces.joined() for pieces in self.pieces)
        return self._joined

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return sum([job.weight for job in self.jobs])

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died with one of its jobs inside."""
        return any(job.crashes for job in self.jobs)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(not job.settled for job in self.jobs)


def _dropped(outcome: Prediction | Problem) -> None:
    del outcome
