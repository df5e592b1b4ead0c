"""A world without real time: the true dispatcher, and workers whose calls cost what a test says."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modelyard.oip.tensor import Tensor
from modelyard.serving.batching.policy import Policy
from modelyard.serving.dispatcher import Dispatcher, Rules
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import USUAL_PRIORITY, Job, Prediction, Work

Cost = Callable[[int], float]
"""Seconds of a call with so many rows."""
ROW = Tensor("x", "FP64", (1, 1), bytes(8))


class Timer:
    """Something that is to happen."""

    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback: Callable[[], Any] | None = callback

    def cancel(self) -> None:
        self.callback = None


class World:
    """Time that passes only when nothing happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Any:
        return self.call_later(0.0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Any:
        timer = Timer(lambda: callback(*args))
        heapq.heappush(self._events, (self.now + max(delay, 0.0), next(self._numbers), timer))
        return timer

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._events)
            if timer.callback is not None:
                timer.callback()
        self.now = until


class Worker:
    """Answers a call after what it costs; the outputs are the inputs."""

    def __init__(self, world: World, dispatcher: Dispatcher, cost: Cost, joining: float = 0.0) -> None:
        self._world = world
        self._dispatcher = dispatcher
        self._cost = cost
        self._joining = joining
        """Seconds for each byte of a call with several requests."""
        self.load = 0
        self.calls: list[int] = []
        self.abandoned: list[Work] = []

    parallel = 1

    @property
    def has_room(self) -> bool:
        return self.load == 0

    def begin(self, work: Work) -> None:
        self.load += 1
        rows = sum(work.rows)
        self.calls.append(rows)
        seconds = self._cost(rows)
        if len(work.jobs) > 1:
            work.front_seconds = self._joining * work.size
        self._world.call_later(seconds + work.front_seconds, self._end, work, seconds)

    def abandon(self, work: Work) -> None:
        self.abandoned.append(work)

    def _end(self, work: Work, seconds: float) -> None:
        self.load -= 1
        self._dispatcher.completed(work, Prediction(work.inputs, seconds))
        self._dispatcher.feed()


@dataclass
class Outcome:
    """What became of the requests."""

    latencies: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    latencies_of: dict[int, list[float]] = field(default_factory=dict)
    """By priority."""

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Service:
    """A dispatcher with its workers, and clients that come by chance."""

    def __init__(
        self,
        cost: Cost,
        *,
        policy: Policy | None = None,
        workers: int = 1,
        limit: int = 10_000,
        limit_bytes: int = 1 << 30,
        joining: float = 0.0,
        row: Tensor = ROW,
    ) -> None:
        self._row = row
        self.world = World()
        self.dispatcher = Dispatcher(
            self.world, Rules(limit=limit, limit_bytes=limit_bytes), policy, clock=self.world.clock
        )
        self.dispatcher.obstacle = None
        self.workers = [Worker(self.world, self.dispatcher, cost, joining) for _ in range(workers)]
        for worker in self.workers:
            self.dispatcher.attach(worker)
        self.outcome = Outcome()
        self._random = random.Random(11)

    def ask(self, timeout: float = 60.0, priority: int = USUAL_PRIORITY) -> None:
        now = self.world.now
        outcome = self.outcome

        def done(result: Prediction | Problem) -> None:
            if isinstance(result, Problem):
                outcome.problems.append(result)
                return
            outcome.latencies.append(self.world.now - now)
            outcome.latencies_of.setdefault(priority, []).append(self.world.now - now)
            outcome.waits.append(job.begun_at - now)

        job = Job((self._row,), {}, now + timeout, timeout, now, done, priority=priority)
        try:
            self.dispatcher.submit(job)
        except Problem as problem:
            outcome.problems.append(problem)

    def come(self, rate: float, seconds: float, **options: Any) -> Outcome:
        """Requests come at a rate, at random times, for so long; returns what became of them."""
        self.outcome = outcome = Outcome()
        end = self.world.now + seconds

        def arrive() -> None:
            self.ask(**options)
            gap = self._random.expovariate(rate)
            if self.world.now + gap < end:
                self.world.call_later(gap, arrive)

        self.world.call_later(self._random.expovariate(rate), arrive)
        self.world.run(end)
        return outcome
