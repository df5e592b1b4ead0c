"""One bounded queue in front of all workers: who is next, with whom, what is late, what is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Protocol

from modelyard.serving.batching.merging import PAD, Pieces, gather, rows_of, split
from modelyard.serving.batching.pace import Spent, seconds_of
from modelyard.serving.batching.policy import Policy
from modelyard.serving.caching import COLLAPSED, HIT, MISS, Flight, ResponseCache
from modelyard.serving.errors import Failure, Problem, expired, unavailable
from modelyard.serving.jobs import Job, Prediction, Work
from modelyard.serving.line import Line
from modelyard.serving.overload import Flow

MOST_AHEAD = 2
"""Calls that a worker may have while others could still join them: one runs, one is there when it ends."""
MOST_CRASHES = 2
"""A request inside so many workers that died is not given to a third."""


class Runner(Protocol):
    """Something that predicts: a worker's link."""

    @property
    def load(self) -> int:
        """Calls it has now."""

    @property
    def parallel(self) -> int:
        """Calls that it works on at a time."""

    @property
    def has_room(self) -> bool:
        """Whether it takes another one."""

    def begin(self, work: Work) -> None:
        """Take a call. The dispatcher hears `completed` later, or `detach`."""

    def abandon(self, work: Work) -> None:
        """Nobody waits for this call any more: it need not be begun, and may stop early."""


class Timers(Protocol):
    """What is needed of an event loop."""

    def call_soon(self, callback: Callable[..., Any], /, *args: Any) -> Any:
        """Call in the next turn."""

    def call_later(self, delay: float, callback: Callable[..., Any], /, *args: Any) -> asyncio.TimerHandle:
        """Call after so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a dispatcher keeps to."""

    limit: int
    """Jobs that may wait."""
    limit_bytes: int
    """Bytes of their inputs."""
    max_delay: float = 0.0
    """Seconds that a job may be held back for company while every worker is busy."""
    retries: bool = True
    """Whether jobs inside a worker that died are given to another one."""


class Dispatcher:
    """Gives jobs to workers in the order of their priority and arrival.

    A worker that is free gets what waits now, at once; jobs share a call only if they came while all workers
    were busy, or in the same turn of the loop.
    """

    def __init__(
        self,
        timers: Timers,
        rules: Rules,
        policy: Policy | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._timers = timers
        self._rules = rules
        self._clock = clock
        self._line = Line()
        self._flow = Flow()
        self._open: set[Job] = set()
        self._runners: list[Runner] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._feeds_soon = False
        self._held: asyncio.TimerHandle | None = None
        self.policy = policy or Policy()
        self.obstacle: Failure | None = Failure("Starting", "the model is loading")
        """Why new jobs are refused; None when they are taken."""
        self.on_call: Callable[[Work, float], None] | None = None
        """Told of each call that was answered, and of its seconds."""
        self.on_mismatch: Callable[[str], None] | None = None
        """Told when answers of shared calls turn out not to be the jobs' own."""
        self.cache: ResponseCache | None = None
        """Answers for equal requests, where the model's publisher wants them kept."""
        self.retried = 0
        """Jobs that were given to another worker after theirs died."""

    @property
    def waiting(self) -> int:
        """Jobs that no worker has yet."""
        return len(self._line)

    @property
    def unsettled(self) -> int:
        """Jobs whose askers still wait."""
        return len(self._open)

    def submit(self, job: Job) -> None:
        """Take a job; raises Problem (503, nothing begun) when there is no worker, no room or no time."""
        if self.obstacle is not None:
            raise unavailable(self.obstacle.message, reason=self.obstacle.reason, safe=True)
        cache = self.cache
        key = cache.key(job) if cache is not None else None
        if cache is None or key is None:
            self._enqueue(job)
        else:
            self._submit_cached(cache, key, job)

    def _submit_cached(self, cache: ResponseCache, key: bytes, job: Job) -> None:
        """Answer from the cache, or let the job wait for the one call that all equal ones wait for."""
        found = cache.find(key)
        if found is not None:
            job.cache_status = HIT
            job.begun_at = self._clock()
            self._finish(job, found)
            return
        flight = cache.flights.get(key)
        if flight is not None:
            job.cache_status = COLLAPSED
            flight.leader.deadline = max(flight.leader.deadline, job.deadline)
        else:
            job.cache_status = MISS
            cache.misses += 1
            leader = replace(job, done=partial(self._landed, cache, key), cache_status="", together=None)
            flight = cache.flights[key] = Flight(key, leader)
        job.flight = flight
        flight.followers.append(job)
        self._watch(job)
        if len(flight.followers) == 1:
            try:
                self._enqueue(flight.leader)
            except Problem:
                self._leave(job)
                raise

    def _landed(self, cache: ResponseCache, key: bytes, outcome: Prediction | Problem) -> None:
        """The call that equal jobs wait for was answered."""
        flight = cache.flights.pop(key)
        if isinstance(outcome, Prediction):
            cache.keep(key, outcome.outputs)
        for job in flight.followers:
            if not job.settled:
                job.begun_at = flight.leader.begun_at or self._clock()
                job.merge_seconds = flight.leader.merge_seconds
                self._finish(job, outcome)

    def _leave(self, job: Job) -> None:
        """A job waits no longer; the call goes on while others wait for it."""
        flight: Flight | None = job.flight
        job.flight = None
        self._open.discard(job)
        if flight is None or self.cache is None:
            return
        flight.followers.remove(job)
        if not flight.followers and self.cache.flights.get(flight.key) is flight:
            del self.cache.flights[flight.key]
            self.cancel(flight.leader)

    def _watch(self, job: Job) -> None:
        """See to it that a job is answered at its deadline."""
        self._open.add(job)
        if self._alarm is None or job.deadline < self._alarm_at:
            self._set_alarm(job.deadline)

    def _enqueue(self, job: Job) -> None:
        line = self._line
        waiting = line.count
        if waiting >= self._rules.limit or line.bytes > self._rules.limit_bytes:
            self._make_room(job)
        elif waiting and self._flow.is_late(
            job.deadline - job.submitted_at, ahead=waiting, workers=self._hands
        ):
            raise self._too_late(job)
        self._open.add(job)
        if self._alarm is None or job.deadline < self._alarm_at:
            self._set_alarm(job.deadline)
        line.push(job)
        if self._feeds_soon:
            return
        if not self.policy.merges:
            self.feed()
        else:
            # What one turn of the loop brings may go together.
            self._feeds_soon = True
            self._timers.call_soon(self.feed)

    def cancel(self, job: Job) -> None:
        """Forget a job whose asker has gone; a worker that has begun it is told."""
        work, job.work = job.work, None
        flight = job.flight
        job.forget()
        self._leave(job)
        if flight is not None:
            return
        if work is None:
            self._line.drop_settled()
        else:
            _abandon(work)

    def attach(self, runner: Runner) -> None:
        """A worker is ready."""
        self._runners.append(runner)
        self.feed()

    def detach(
        self, runner: Runner, untouched: Iterable[Work], broken: Iterable[Work], failure: Failure
    ) -> None:
        """A worker is gone; what it never began goes back to the head of the queue.

        What was inside is tried once more, each job for itself, so that one that kills workers takes no other
        with it. Prediction changes nothing in the world, so that doing it again is harmless.
        """
        if runner in self._runners:
            self._runners.remove(runner)
        self._line.push_back(_waiting_again(job for work in untouched for job in work.jobs))
        for work in broken:
            for job in _waiting_again(work.jobs):
                self._outlived(job, failure)
        self.feed()

    def refuse_waiting(self, failure: Failure) -> None:
        """Turn away all that wait; none of them was answered."""
        for job in self._line.empty():
            safe = not job.crashes
            self._finish(job, unavailable(failure.message, reason=failure.reason, safe=safe))

    def feed(self) -> None:
        """Give waiting jobs to workers that have room."""
        self._feeds_soon = False
        while self._line.count:
            runner = self._freest()
            if runner is None or (runner.load and self._holds_back()):
                return
            if runner.load and runner.parallel > 1 and self._line.next_is_suspect:
                return  # what may kill a worker gets one for itself, so that no other is blamed
            most = self.policy.max_rows if self.policy.merges else 1
            self._drop_late(self.policy.paces.least(min(most, len(self._line))))
            if not self._line:
                return
            jobs = tuple(job for job in self._line.take(self.policy.rows_for, most) if not job.settled)
            if jobs:
                self._begin(runner, jobs)

    # What runners tell.

    def completed(self, work: Work, outcome: Prediction | Problem) -> None:
        """A call was answered."""
        if isinstance(outcome, Problem):
            self._failed(work, outcome)
            return
        self._flow.observe(len(work.jobs), outcome.infer_seconds)
        if self.on_call is not None:
            self.on_call(work, outcome.infer_seconds)
        joining = 0.0
        if not self._answered_together(work, outcome):
            if len(work.jobs) == 1:
                self._finish(work.jobs[0], outcome)
            else:
                self._share_out(work, outcome)
        if len(work.jobs) > 1:
            joining = work.jobs[0].merge_seconds
        rows = sum(work.rows)
        spent = Spent(outcome.infer_seconds, work.worker_seconds, work.front_seconds + joining)
        self.policy.observe(rows, seconds_of(spent, shared=len(work.jobs) > 1), work.size // rows)

    def part(self, work: Work, prediction: Prediction) -> None:
        """A part of a streamed answer came."""
        on_part = work.jobs[0].on_part
        if on_part is not None:
            on_part(prediction)

    # How it works.

    def _begin(self, runner: Runner, jobs: tuple[Job, ...]) -> None:
        now = self._clock()
        first = jobs[0]
        pieces: tuple[Pieces, ...] = ()
        if len(jobs) > 1:
            pieces = gather([job.inputs for job in jobs], first.parameters.get(PAD))
        work = Work(
            jobs=jobs,
            rows=tuple([job.rows if job.rows > 0 else max(rows_of(job.inputs), 1) for job in jobs]),
            parameters=first.parameters,
            deadline=max([job.deadline for job in jobs]),
            begun_at=now,
            streams=first.on_part is not None,
            runner=runner,
            pieces=pieces,
        )
        seconds = self._clock() - now
        for job in jobs:
            job.begun_at, job.merge_seconds, job.work = now, seconds, work
        runner.begin(work)

    def _answered_together(self, work: Work, outcome: Prediction) -> bool:
        """Answer jobs that one hand can answer at once, without a prediction of its own for each."""
        together = work.jobs[0].together
        if together is None or any([job.together is not together for job in work.jobs]):
            return False
        now = self._clock()
        written = together.written(work, outcome)
        if written is None:
            return False
        answers = []
        for job, answer in zip(work.jobs, written, strict=True):
            if not job.settled:
                self._open.discard(job)
                job.answered_at = now
                # A ring of references would keep large tensors alive.
                job.work = None
                job.forget()
                answers.append((job, answer))
        together.answer(answers, outcome)
        return True

    def _share_out(self, work: Work, outcome: Prediction) -> None:
        began = self._clock()
        shares = split(outcome.outputs, work.rows)
        if shares is None:
            shapes = ", ".join(f'"{tensor.name}" {list(tensor.shape)}' for tensor in outcome.outputs)
            reason = f"a call with {sum(work.rows)} rows was answered with {shapes}"
            self.policy.refuse(reason)
            if self.on_mismatch is not None:
                self.on_mismatch(reason)
            self._again(*((job,) for job in work.jobs))
            return
        seconds = self._clock() - began
        for job, outputs in zip(work.jobs, shares, strict=True):
            job.merge_seconds += seconds
            self._finish(job, outcome._replace(outputs=outputs))

    def _failed(self, work: Work, problem: Problem) -> None:
        """A call failed: of several jobs only some are to blame, which halves find out."""
        if problem.reason == "OutOfMemory" and len(work.jobs) > 1:
            self.policy.overflowed(sum(work.rows))
        middle = len(work.jobs) // 2
        if middle:
            self._again(work.jobs[:middle], work.jobs[middle:])
        else:
            self._finish(work.jobs[0], problem)

    def _again(self, *groups: Sequence[Job]) -> None:
        for group in groups:
            self._line.push_group(_waiting_again(group))

    def _outlived(self, job: Job, failure: Failure) -> None:
        """A job's worker died with the job inside."""
        job.crashes += 1
        if not self._rules.retries:
            message = f"the model's process ended while it worked on this request: {failure.message}"
            self._finish(job, unavailable(message, reason=failure.reason, safe=False))
        elif job.crashes >= MOST_CRASHES:
            self._finish(job, _poison(failure))
        else:
            self.retried += 1
            self._line.push_group((job,))

    def _drop_late(self, seconds: float) -> None:
        """Turn away who cannot be done in time by the quickest call, so that those behind them can."""
        while (job := self._line.next_single) is not None and job.deadline - self._clock() < seconds:
            self._line.take(lambda first, *_: first, 1)
            if not job.settled:
                self._finish(job, self._too_late(job))

    def _too_late(self, job: Job) -> Problem:
        message = (
            f"it would not be done within {job.timeout_seconds:g} s, its deadline: {len(self._line)} requests"
            " wait before it; try again, allow more time, or give the service more replicas"
        )
        return unavailable(message, reason="Late", safe=not job.crashes, retry_after=self._retry_after())

    def _make_room(self, job: Job) -> None:
        """Turn the least important job away; raises Problem when that is the new one."""
        message = f"{len(self._line)} requests wait already: try again, or give the service more replicas"
        full = unavailable(message, reason="QueueFull", safe=True, retry_after=self._retry_after())
        least = self._line.least(job.priority)
        if least is None or least.weight < self._line.bytes - self._rules.limit_bytes:
            raise full
        self._line.remove(least)
        self._finish(least, full)

    def _retry_after(self) -> int:
        return self._flow.retry_after(ahead=len(self._line), workers=self._hands)

    @property
    def _hands(self) -> int:
        """Calls that all workers together work on at a time."""
        if len(self._runners) == 1:
            return self._runners[0].parallel
        return sum(runner.parallel for runner in self._runners)

    def _freest(self) -> Runner | None:
        most = MOST_AHEAD if self.policy.merges else self._rules.limit + 1
        if len(self._runners) == 1:
            runner = self._runners[0]
            return runner if runner.has_room and runner.load < max(most, runner.parallel) else None
        free = [each for each in self._runners if each.has_room and each.load < max(most, each.parallel)]
        if len(free) < 2:
            return free[0] if free else None
        return min(free, key=lambda runner: runner.load)

    def _holds_back(self) -> bool:
        """Whether what waits may wait a little longer for company, as every worker is busy anyway."""
        oldest = self._line.oldest
        if not self._rules.max_delay or not self.policy.merges or oldest is None:
            return False
        rest = oldest.submitted_at + self._rules.max_delay - self._clock()
        if rest <= 0 or len(self._line) >= self.policy.max_rows:
            return False
        if self._held is None:
            self._held = self._timers.call_later(rest, self._release)
        return True

    def _release(self) -> None:
        self._held = None
        self.feed()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._timers.call_later(max(0.0, at - self._clock()), self._expire)

    def _expire(self) -> None:
        self._alarm = None
        # uvloop's clock has a resolution of 1 ms and may ring that much early.
        now = self._clock() + 0.001
        late = [job for job in self._open if job.deadline <= now]
        works = [job.work for job in late if job.flight is None]
        for job in late:
            self._finish(job, expired(job.timeout_seconds))
        for work in works:
            if work is not None:
                _abandon(work)
        if None in works:
            self._line.drop_settled()
        if self._open:
            self._set_alarm(min(job.deadline for job in self._open))

    def _finish(self, job: Job, outcome: Prediction | Problem) -> None:
        self._open.discard(job)
        job.answered_at = self._clock()
        # A ring of references would keep large tensors alive.
        job.work = job.flight = None
        job.settle(outcome)


def _waiting_again(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs whose askers still wait, as if they had never been begun."""
    again = tuple(job for job in jobs if not job.settled)
    for job in again:
        job.begun_at, job.work = 0.0, None
    return again


def _abandon(work: Work) -> None:
    if not work.is_wanted:
        work.runner.abandon(work)


def _poison(failure: Failure) -> Problem:
    message = (
        "this request is poison: the model's process ended twice while it worked on it, the second time with"
        f" nothing else inside; it is not tried again. {failure.message}"
    )
    return Problem(503, "unavailable", message, reason=failure.reason)
