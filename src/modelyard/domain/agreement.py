"""Whether two answers to one request agree, and by how much their numbers differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any, ClassVar

from modelyard.domain import wire

_FLOATS = ("FP16", "FP32", "FP64", "BF16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """A tensor as JSON has it; of a long one only the beginning."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[float | int | str | bool | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much one output of two answers differs."""

    name: str
    elements: int
    total_error: float = 0.0
    max_error: float = 0.0
    flips: int = 0
    compared: int = 0
    rows: frozenset[int] = field(default_factory=frozenset)
    """Those that disagree."""


def differences(base: Sequence[Values], new: Sequence[Values], *, tolerance: float) -> tuple[Difference, ...]:
    """One for each output that either has; one that the other lacks disagrees everywhere."""
    theirs = {each.name: each for each in new}
    found = [_difference(each, theirs.pop(each.name, None), tolerance) for each in base]
    return (*found, *(_difference(each, None, tolerance) for each in theirs.values()))


def flipped_rows(found: Sequence[Difference]) -> int:
    """Rows in which any output disagrees."""
    return len(frozenset().union(*(each.rows for each in found)))


def _difference(base: Values, new: Values | None, tolerance: float) -> Difference:
    rows = max(base.shape[0] if base.shape else 1, 1)
    same = new is not None and (base.shape, len(base.data)) == (new.shape, len(new.data))
    if new is None or not same or (base.datatype in _FLOATS) != (new.datatype in _FLOATS):
        return Difference(name=base.name, elements=0, flips=rows, compared=rows, rows=frozenset(range(rows)))
    errors = [_error(a, b) for a, b in zip(base.data, new.data, strict=True)]
    numbers = [error for error in errors if error is not None]
    width = max(prod(base.shape[1:]), 1)
    verdicts = list(_verdicts(base, new, width, tolerance))
    return Difference(
        name=base.name,
        elements=len(numbers),
        total_error=sum(numbers),
        max_error=max(numbers, default=0.0),
        flips=sum(not agrees for _, agrees in verdicts),
        compared=len(verdicts),
        rows=frozenset(row for row, agrees in verdicts if not agrees),
    )


def _verdicts(base: Values, new: Values, width: int, tolerance: float) -> Iterator[tuple[int, bool]]:
    """Row and whether it agrees: scores by their highest, numbers within the tolerance, classes exactly."""
    scores = base.datatype in _FLOATS and len(base.shape) > 1 and base.shape[-1] > 1
    if scores:
        last = base.shape[-1]
        for at in range(0, len(base.data) - last + 1, last):
            yield at // width, _highest(base.data[at : at + last]) == _highest(new.data[at : at + last])
        return
    near = tolerance if base.datatype in _FLOATS else 0.0
    for at, (a, b) in enumerate(zip(base.data, new.data, strict=True)):
        yield at // width, a == b or _is_near(a, b, near)


def _highest(scores: Sequence[Any]) -> int:
    numbers = [score if _is_number(score) else float("-inf") for score in scores]
    return numbers.index(max(numbers))


def _is_near(a: Any, b: Any, tolerance: float) -> bool:
    error = _error(a, b)
    return error is not None and error <= tolerance * max(abs(a), abs(b))


def _error(a: Any, b: Any) -> float | None:
    """Absolute; None for what is no number."""
    return abs(a - b) if _is_number(a) and _is_number(b) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
