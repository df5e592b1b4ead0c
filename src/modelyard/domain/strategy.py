"""How a new revision takes over from the one that serves: at once, in two sets, or by and by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import gates, wire
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.gates import AgreementGate, Gate, ManualGate

USUAL_STEPS = (5, 25, 100)
_LONGEST_SECONDS = 30 * 86_400.0


class Kind(StrEnum):
    """The ways to replace a revision."""

    ROLLING = "rolling"
    """Replica by replica."""
    BLUE_GREEN = "blue-green"
    """A whole new set beside the old one, then all requests at once; the old set stays for a while."""
    CANARY = "canary"
    """A growing part of the requests, for as long as nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a new revision takes over, and what it must keep to meanwhile."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    kind: Kind = Kind.ROLLING
    steps: tuple[int, ...] = ()
    """Percent of the requests, growing, the last 100; a canary's are 5, 25, 100 when not said. A first step
    of 0 is judged by mirrored requests alone."""
    interval_seconds: float = 60.0
    """How long each step lasts at least."""
    min_requests: int = 100
    """So many requests the new revision must have answered in each step."""
    keep_seconds: float = 60.0
    """How long the old revision stays ready, and is gone back to at once, after the new one got all."""
    gates: tuple[str, ...] = ()
    """Such as `errors=1%`, which canary and blue-green have when nothing is said; `none` is no gate."""
    mirror: int = 0
    """Percent of the old revision's requests that the new one is sent a copy of, to compare the answers."""
    tolerance: float = 0.05
    """By which part two numbers may differ and still agree; classes must be the same."""
    keep_inputs: bool = False
    """Keep the inputs of the twenty worst disagreements; without it only their size is kept."""
    lean: bool = False
    """Give up the old revision's replicas as its part of the requests shrinks, instead of at the end."""

    def __post_init__(self) -> None:
        wrong = [FieldError(f"strategy.{name}", message) for name, message in _mistakes(self)]
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)
        asked = self.judges
        if any(isinstance(gate, AgreementGate) for gate in asked.values()) and not self.mirror:
            message = "an agreement gate compares mirrored requests: give `mirror` as well, such as 10"
            raise Invalid(f"strategy.mirror: {message}", errors=[FieldError("strategy.mirror", message)])
        _require_steps_of_approvals(asked, self.stages)

    @property
    def judges(self) -> dict[str, Gate]:
        """The gates that count, by how they are written."""
        asked = self.gates
        if not asked and self.kind is not Kind.ROLLING:
            asked = ("errors=1%",)
        return gates.parse_all(asked, "strategy.gates")

    @property
    def is_plain(self) -> bool:
        """Whether replicas are replaced one after another and nothing is judged."""
        return self.kind is Kind.ROLLING and not self.judges

    @property
    def stages(self) -> tuple[int, ...]:
        """Percent of the requests of each step."""
        match self.kind:
            case Kind.ROLLING:
                return (100,)
            case Kind.BLUE_GREEN:
                return (0, 100)
            case Kind.CANARY:
                return self.steps or USUAL_STEPS


def _require_steps_of_approvals(asked: Mapping[str, Gate], stages: tuple[int, ...]) -> None:
    """Refuse to wait for an approval of a step that never comes."""
    for text, gate in asked.items():
        if isinstance(gate, ManualGate) and gate.before and gate.before not in stages:
            listed = ", ".join(str(each) for each in stages)
            message = f"{text} is no step of this rollout; there are {listed}"
            raise Invalid(f"strategy.gates: {message}", errors=[FieldError("strategy.gates", message)])


def _mistakes(strategy: Strategy) -> Iterator[tuple[str, str]]:
    yield from _wrong_steps(strategy)
    for name in ("interval_seconds", "keep_seconds"):
        if not 0 <= getattr(strategy, name) <= _LONGEST_SECONDS:
            yield name, "must be between 0 seconds and 30 days"
    if not 0 <= strategy.min_requests <= 10_000_000:
        yield "min_requests", "must be between 0 and 10000000"
    if not 0 <= strategy.mirror <= 100:
        yield "mirror", "must be between 0 and 100 percent"
    if strategy.mirror and strategy.kind is Kind.ROLLING:
        yield "mirror", "replicas of a rolling update are not told apart; use blue-green or canary"
    if not 0 <= strategy.tolerance <= 1:
        yield "tolerance", "must be between 0 and 1"


def _wrong_steps(strategy: Strategy) -> Iterator[tuple[str, str]]:
    steps = strategy.steps
    if not steps:
        return
    if strategy.kind is not Kind.CANARY:
        yield "steps", f"only a canary has steps; leave them out, or make `kind` {Kind.CANARY.value}"
    elif list(steps) != sorted(set(steps)) or steps[-1] != 100 or steps[0] < 0 or len(steps) > 20:
        yield "steps", "must grow from one to the next, end with 100, and be at most 20; such as 5, 25, 100"
    elif steps[0] == 0 and not strategy.mirror:
        yield "steps", "a step of 0 is judged by mirrored requests: give `mirror` as well, such as 10"
