"""Compiled variants: what was asked, what was measured, and which one answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire

INLINE_SECONDS = 0.0005
"""A variant that answers one row faster than this may run inside the serving process itself."""


class Optimize(StrEnum):
    """What a publisher asks for."""

    AUTO = "auto"
    """Compile, and serve the fastest variant that answers as the original does and is really faster."""
    OFF = "off"
    ONNX = "onnx"
    """This variant or none: publishing fails when there is no parity."""
    TREELITE = "treelite"


class Variant(StrEnum):
    """What answers requests."""

    ORIGINAL = "original"
    ONNX = "onnx"
    TREELITE = "treelite"


class Serve(StrEnum):
    """What a deployment asks for."""

    AUTO = "auto"
    """The version's variant, if it has one."""
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How a variant's answers compare with the original's."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    rows: int
    """The sample's surroundings, far values, and values on both sides of the trees' thresholds."""
    label_mismatches: int
    max_abs_error: float | None
    """Of probabilities and other numbers; null when shapes or datatypes differ."""
    tolerance: float
    """Allowed absolutely, or as a part of the original's number."""
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Median time of a prediction of so many rows, of both, in one process and one after the other."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    batch: int
    original_seconds: float
    variant_seconds: float

    @property
    def gain(self) -> float:
        """How many times as fast the variant is."""
        return self.original_seconds / self.variant_seconds if self.variant_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One variant that was tried."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    kind: Variant
    reason: str = ""
    """Why it is not served; empty when it could be."""
    parity: Parity | None = None
    speed: tuple[Speed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """The decision about an artifact's compiled variant, with what it rests on."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    wanted: Optimize = Optimize.OFF
    chosen: Variant = Variant.ORIGINAL
    reason: str = ""
    """Why this one, or why none; empty while it is not decided."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is asked for and still to be decided."""
        return self.wanted is not Optimize.OFF and not self.reason

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that was chosen."""
        return next((each for each in self.attempts if each.kind is self.chosen), None)

    @property
    def is_quick(self) -> bool:
        """Whether it may run inside the serving process, as none of its calls holds others up."""
        attempt = self.attempt
        if self.chosen is not Variant.ONNX or attempt is None:
            return False
        one = next((speed for speed in attempt.speed if speed.batch == 1), None)
        return one is not None and 0 < one.variant_seconds < INLINE_SECONDS

    @property
    def row_seconds(self) -> float:
        """What each further row of a batch costs."""
        times = {speed.batch: speed.variant_seconds for speed in (self.attempt or _NONE).speed}
        if len(times) < 2:
            return 0.0
        small, large = min(times), max(times)
        return max(0.0, (times[large] - times[small]) / (large - small))


_NONE = Attempt(kind=Variant.ORIGINAL)


def described(optimization: Optimization) -> str:
    """The decision in one line for people."""
    attempt = optimization.attempt
    if attempt is None or attempt.parity is None:
        return f"original: {optimization.reason}" if optimization.reason else "original"
    parity = attempt.parity
    gains = ", ".join(f"{speed.gain:.1f}x for {speed.batch}" for speed in attempt.speed)
    error = "" if parity.max_abs_error is None else f", largest error {parity.max_abs_error:.1e}"
    return (
        f"{optimization.chosen.value}: {gains} rows; {parity.label_mismatches} labels differ "
        f"in {parity.rows} rows{error}"
    )


def running(replicas: Iterable[tuple[str, bool]]) -> str:
    """What answers in some replicas, given each one's variant and whether it runs inline."""
    names = [f"{variant}, inline" if inline else variant for variant, inline in replicas if variant]
    return " and ".join(sorted(set(names)))
