"""One bounded queue, first in first out, in front of all workers; deadlines; nothing is begun twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from modelyard.oip.tensor import total_bytes
from modelyard.serving.errors import Failure, Problem, expired, unavailable
from modelyard.serving.jobs import Job


class Runner(Protocol):
    """Something that predicts: a worker's link."""

    @property
    def load(self) -> int:
        """Jobs it has now."""

    @property
    def has_room(self) -> bool:
        """Whether it takes another one."""

    def begin(self, job: Job) -> None:
        """Take a job; it is settled later."""


class Dispatcher:
    """Gives jobs to workers in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, limit: int, limit_bytes: int) -> None:
        self._loop = loop
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._waiting: deque[Job] = deque()
        self._waiting_bytes = 0
        self._open: set[Job] = set()
        self._runners: list[Runner] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self.obstacle: Failure | None = Failure("Starting", "the model is loading")
        """Why new jobs are refused; None when they are taken."""

    @property
    def waiting(self) -> int:
        """Jobs that no worker has yet."""
        return len(self._waiting)

    @property
    def unsettled(self) -> int:
        """Jobs whose askers still wait."""
        return len(self._open)

    def submit(self, job: Job) -> None:
        """Take a job; raises Problem (503, nothing begun) when there is no worker or no room."""
        if self.obstacle is not None:
            raise unavailable(self.obstacle.message, reason=self.obstacle.reason, safe=True)
        if self._is_full():
            message = (
                f"{len(self._waiting)} requests wait already: try again, or give the service more replicas"
            )
            raise unavailable(message, reason="QueueFull", safe=True)
        self._open.add(job)
        if self._alarm is None or job.deadline < self._alarm_at:
            self._set_alarm(job.deadline)
        self._waiting.append(job)
        self._waiting_bytes += total_bytes(job.inputs)
        self.feed()

    def cancel(self, job: Job) -> None:
        """Forget a job whose asker has gone; what a worker has begun it finishes."""
        job.forget()
        self._open.discard(job)
        if not job.begun_at and job in self._waiting:
            self._waiting.remove(job)
            self._weigh()

    def settled(self, job: Job) -> None:
        """A job is done with."""
        self._open.discard(job)

    def attach(self, runner: Runner) -> None:
        """A worker is ready."""
        self._runners.append(runner)
        self.feed()

    def detach(self, runner: Runner, untouched: Iterable[Job]) -> None:
        """A worker is gone; jobs that it never began go back to the head of the queue."""
        if runner in self._runners:
            self._runners.remove(runner)
        for job in reversed(list(untouched)):
            if not job.settled:
                job.begun_at = 0.0
                self._waiting.appendleft(job)
        self._weigh()
        self.feed()

    def refuse_waiting(self, failure: Failure) -> None:
        """Turn away all that wait; none of them was begun."""
        refused, self._waiting = self._waiting, deque()
        self._weigh()
        for job in refused:
            self._finish(job, unavailable(failure.message, reason=failure.reason, safe=True))

    def feed(self) -> None:
        """Give waiting jobs to workers that have room."""
        while self._waiting:
            runner = self._freest()
            if runner is None:
                return
            job = self._waiting.popleft()
            self._waiting_bytes -= total_bytes(job.inputs)
            if not job.settled:
                job.begun_at = monotonic()
                runner.begin(job)

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._limit or self._waiting_bytes > self._limit_bytes

    def _weigh(self) -> None:
        self._waiting_bytes = sum(total_bytes(job.inputs) for job in self._waiting)

    def _freest(self) -> Runner | None:
        runners = self._runners
        if len(runners) == 1:
            return runners[0] if runners[0].has_room else None
        free = [runner for runner in runners if runner.has_room]
        return min(free, key=lambda runner: runner.load) if free else None

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_later(max(0.0, at - monotonic()), self._expire)

    def _expire(self) -> None:
        self._alarm = None
        # uvloop's clock has a resolution of 1 ms and may ring that much early.
        now = monotonic() + 0.001
        late = [job for job in self._open if job.deadline <= now]
        for job in late:
            self._finish(job, expired(job.timeout_seconds))
        if any(not job.begun_at for job in late):
            self._waiting = deque(job for job in self._waiting if not job.settled)
            self._weigh()
        if self._open:
            self._set_alarm(min(job.deadline for job in self._open))

    def _finish(self, job: Job, problem: Problem) -> None:
        self._open.discard(job)
        job.settle(problem)
