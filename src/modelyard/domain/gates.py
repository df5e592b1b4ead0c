"""What a new revision must keep to while it is rolled out, and how it is written: `errors=1%`, `p99=20%`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid

NONE = "none"
_GRAMMAR = (
    "write errors=1%, p99=20% or p99=50ms (more than the old revision's), agreement=99%, memory=20%, "
    "metric:NAME<=5, metric:NAME>=1, manual, manual=100, or none"
)
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})?)%")
_MILLISECONDS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s)")
_METRIC = re.compile(r"metric:([a-zA-Z_:][a-zA-Z0-9_:]{0,199})(<=|>=)(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)")


@dataclass(frozen=True, slots=True)
class ErrorGate:
    """Errors may be this part of requests, or as many as the old revision has."""

    limit: float


@dataclass(frozen=True, slots=True)
class LatencyGate:
    """A quantile of the time to an answer may be this much above the old revision's."""

    quantile: float
    ratio: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AgreementGate:
    """At least this part of mirrored requests gets the answer that the old revision gives."""

    least: float


@dataclass(frozen=True, slots=True)
class MemoryGate:
    """Memory of the new revision's replicas may grow by this part, or by as much as the old one's does."""

    ratio: float


@dataclass(frozen=True, slots=True)
class MetricGate:
    """A metric that the new revision's replicas expose, as their mean, stays within a bound."""

    name: str
    bound: float
    most: bool
    """Whether the bound is the largest value that is good; else it is the smallest."""


@dataclass(frozen=True, slots=True)
class ManualGate:
    """Somebody says `resume` before the new revision gets more requests."""

    before: int = 0
    """Only before it gets this many percent; 0 is before every step."""


Gate = ErrorGate | LatencyGate | AgreementGate | MemoryGate | MetricGate | ManualGate


def parse_all(texts: Iterable[str], path: str) -> dict[str, Gate]:
    """The gates by how they are written; `none` stands for no gate. Raises Invalid that names `path`."""
    given = tuple(texts)
    if NONE in given:
        if len(given) > 1:
            _refuse(path, "`none` stands alone")
        return {}
    found = {text: parse(text, f"{path}[{number}]") for number, text in enumerate(given)}
    if len(found) < len(given):
        _refuse(path, "the same gate is given twice")
    return found


def parse(text: str, path: str) -> Gate:
    """One gate; raises Invalid that names `path` and says how gates are written."""
    metric = _METRIC.fullmatch(text)
    if metric:
        return MetricGate(metric[1], float(metric[3]), most=metric[2] == "<=")
    name, _, value = text.partition("=")
    quantile = re.fullmatch(r"p([0-9]{1,2}(?:\.[0-9])?)", name)
    if quantile:
        return _latency(round(float(quantile[1]) / 100, 6), text, value, path)
    if name == "manual" and (text == name or value.isdecimal()):
        return _manual(int(value[:9] or 0), text, path)
    percent = _PERCENT.fullmatch(value)
    if name not in ("errors", "agreement", "memory") or not percent:
        _refuse(path, f"{text[:60]!a} is not a gate; {_GRAMMAR}")
    part = float(percent[1]) / 100
    if name == "memory":
        return MemoryGate(part)
    if not 0 < part < 1:
        _refuse(path, f"{text[:60]!a} must be between 0% and 100%, and neither of them")
    return ErrorGate(part) if name == "errors" else AgreementGate(part)


def _latency(quantile: float, text: str, value: str, path: str) -> LatencyGate:
    percent, span = _PERCENT.fullmatch(value), _MILLISECONDS.fullmatch(value)
    if not 0.1 <= quantile < 1 or not (percent or span):
        _refuse(path, f"{text[:60]!a} is not a gate: a quantile is p10 to p99.9; {_GRAMMAR}")
    if percent:
        return LatencyGate(quantile, ratio=float(percent[1]) / 100)
    assert span is not None  # noqa: S101 - one of the two matched
    return LatencyGate(quantile, seconds=float(span[1]) * (0.001 if span[2] == "ms" else 1.0))


def _manual(before: int, text: str, path: str) -> ManualGate:
    if before > 100:
        _refuse(path, f"{text[:60]!a}: a step is at most 100 percent")
    return ManualGate(before)


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
