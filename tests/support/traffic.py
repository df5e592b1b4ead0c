"""A canary in virtual time: seeded traffic for two revisions, judged look after look by the real rules."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.domain import observation, progress
from modelyard.domain.deployment import Deployment, DeploymentStatus, Phase, Replica
from modelyard.domain.judging import Seen
from modelyard.domain.rollout_status import Counts, RolloutStatus, Stand
from modelyard.domain.strategy import Kind, Strategy
from tests.domain.make import NOW, deployment

BOUNDS = observation.BOUNDS[:-1]
GATES = ("errors=1%", "p95=20%", "agreement=99%", "memory=20%")
MIB = 1 << 20
RATE = 50.0


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a revision does with a request."""

    errors: float = 0.002
    slower_seconds: float = 0.0
    wrong: float = 0.0
    leak_bytes: float = 0.0
    """Of each request."""


SOUND = Behaviour()
FAULTS = {
    "wrong outputs": Behaviour(wrong=0.05),
    "slow": Behaviour(slower_seconds=0.05),
    "errors": Behaviour(errors=0.02),
    "leak": Behaviour(leak_bytes=0.5 * MIB),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a rollout ended."""

    rollout: RolloutStatus
    requests: int
    """That the new revision answered, copies included."""
    seconds: float

    @property
    def rolled_back(self) -> bool:
        return self.rollout.stand is Stand.ROLLED_BACK


class Canary:
    """One rollout; `RATE` requests a second come in, at times half as many again."""

    def __init__(
        self, seed: int, new: Behaviour, *, old: Behaviour = SOUND, gates: Sequence[str] = GATES
    ) -> None:
        self._dice = random.Random(seed)
        self._behaviour, self._old = new, old
        strategy = Strategy(
            kind=Kind.CANARY, steps=(5, 25, 100), interval_seconds=120, mirror=20, gates=tuple(gates)
        )
        status = DeploymentStatus(good_revision=1)
        self._deployment = deployment(revision=2, replicas=2, strategy=strategy, status=status)
        self._memory = {f"old-{n}": 400.0 * MIB for n in range(2)} | {
            f"new-{n}": 400.0 * MIB for n in range(2)
        }
        self._answered = 0

    def run(self) -> Outcome:
        """Until it is decided."""
        now, before = NOW, self._counts(400, self._old)
        for look in range(100_000):
            seen = self._look(look) if look else Seen(bounds=BOUNDS, before=before)
            status = progress.advance(self._deployment, self._replicas(now), seen, now=now)
            self._deployment: Deployment = replace(self._deployment, status=status)
            rollout = status.rollout
            assert rollout is not None
            if rollout.is_over:
                return Outcome(rollout=rollout, requests=self._answered, seconds=now - NOW)
            now += progress.LOOK_SECONDS
        raise AssertionError("never decided")

    def _look(self, look: int) -> Seen:
        rollout = self._deployment.status.rollout
        assert rollout is not None
        # The load doubles and halves within minutes, and with it everybody's time to an answer.
        busy = 1 + 0.5 * (look // 30 % 2)
        arrived = self._poisson(RATE * progress.LOOK_SECONDS * busy)
        fresh = self._binomial(arrived, rollout.weight(2) / 100)
        copies = self._binomial(arrived - fresh, 0.2)
        self._answered += fresh + copies
        for name in self._memory:
            leak = self._behaviour.leak_bytes * (fresh + copies) / 2 if name.startswith("new") else 0.0
            self._memory[name] += leak + self._dice.gauss(0, 0.5 * MIB)
        agreements = tuple(0.0 if self._dice.random() < self._behaviour.wrong else 1.0 for _ in range(copies))
        return Seen(
            new=self._counts(fresh + copies, self._behaviour, busy),
            old=self._counts(arrived - fresh, self._old, busy),
            bounds=BOUNDS,
            agreements=agreements,
        )

    def _counts(self, requests: int, behaviour: Behaviour, busy: float = 1.0) -> Counts:
        histogram = [0] * len(observation.BOUNDS)
        for _ in range(requests):
            seconds = 0.02 * busy * self._dice.lognormvariate(0, 0.5) + behaviour.slower_seconds
            histogram[bisect_left(observation.BOUNDS, seconds)] += 1
        errors = self._binomial(requests, behaviour.errors)
        return Counts(requests=requests, errors=errors, histogram=tuple(histogram))

    def _replicas(self, now: float) -> list[Replica]:
        return [
            Replica(
                name=name,
                revision=2 if name.startswith("new") else 1,
                phase=Phase.READY,
                phase_since=NOW - 60,
                memory_bytes=round(memory),
            )
            for name, memory in self._memory.items()
        ]

    def _binomial(self, number: int, chance: float) -> int:
        return sum(self._dice.random() < chance for _ in range(number))

    def _poisson(self, mean: float) -> int:
        return max(round(self._dice.gauss(mean, mean**0.5)), 0)
