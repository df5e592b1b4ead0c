"""How a guest that was asked once ended without an answer, in the catalogue's words."""

from __future__ import annotations

import signal

from modelyard.backends.base import Task, TaskKind
from modelyard.domain.deployment import Failure
from modelyard.domain.quantity import format_memory


def late(task: Task) -> Failure:
    """It used up its time."""
    seconds = f"{task.timeout_seconds:g} seconds"
    if task.kind == TaskKind.INSPECT:
        return Failure(
            reason="LoadTimeout", message=f"the model did not load within {seconds}; allow it more time"
        )
    return Failure(
        reason="WorkerHung", message=f"the model did not answer within {seconds}; allow it more time"
    )


def too_big(limit: int) -> Failure:
    """It used up its memory."""
    message = f"the model took more than the {format_memory(limit)} of memory it may use; give it more"
    return Failure(reason="OutOfMemory", message=message)


def too_long(limit: int) -> Failure:
    """Its answer is larger than anybody takes."""
    message = f"the answer is larger than {format_memory(limit)}; ask for fewer rows at once"
    return Failure(reason="PredictionFailed", message=message)


def silent(code: int, *, oomed: bool) -> Failure:
    """Why a process ended without an answer."""
    number = -code
    if number == signal.SIGKILL and oomed:
        return Failure(
            reason="OutOfMemory",
            message="the machine ran out of memory while the model ran; free or add some",
        )
    if code in (126, 127):
        return Failure(
            reason="RuntimeMissing",
            message="the runtime's Python is not there any more; build the runtime again",
        )
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        how = f"was ended by signal {number} ({name})"
    else:
        how = f"ended with exit code {code}"
    return Failure(
        reason="WorkerCrashed", message=f"the model's process {how} before it answered; see what it wrote"
    )
