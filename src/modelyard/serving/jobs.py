"""Job: one prediction on its way through queue and worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.oip.tensor import Tensor
from modelyard.serving.errors import Problem


class Prediction(NamedTuple):
    """What a worker answered."""

    outputs: tuple[Tensor, ...]
    infer_seconds: float


@dataclass(slots=True, eq=False)
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
    """Called for each part of an answer that comes in parts, before `done`."""
    begun_at: float = 0.0
    settled: bool = False

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


def _dropped(outcome: Prediction | Problem) -> None:
    del outcome
