"""One line of a model's requirements, and how versions compare."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[A-Za-z0-9 ,._-]*\])?\s*"
    r"(?P<bounds>(?:[<>=!~]=?=?[^;@]*)?)(?:;.*)?"
)
_PIN = re.compile(r"===?\s*(?P<version>[0-9A-Za-z.!+-]+)")

# Distributions that hold the same library under two names.
_SAME = {
    "xgboost-cpu": "xgboost", "onnxruntime-gpu": "onnxruntime", "mlflow-skinny": "mlflow",
    "tensorflow-cpu": "tensorflow", "tensorflow-cpu-aws": "tensorflow",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requirement:
    """A distribution that a model needs."""

    line: str
    """As it was written."""
    name: str
    """The library, normalised: lower case, hyphens, one name for its builds."""
    version: str = ""
    """The exact version when it is pinned."""


def parse(line: str) -> Requirement | None:
    """A requirement; None for an option, an address, or what is no requirement at all."""
    text = line.strip()
    match = _LINE.fullmatch(text)
    if not match:
        return None
    pin = _PIN.fullmatch(match["bounds"].strip())
    return Requirement(text, library(match["name"]), pin["version"] if pin else "")


def library(distribution: str) -> str:
    """The normalised name of a distribution's library."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    return _SAME.get(name, name)


def release(version: str) -> tuple[int, int] | None:
    """Major and minor number; None when the text does not begin with two numbers."""
    match = re.match(r"([0-9]{1,9})\.([0-9]{1,9})(?![0-9])", version)
    return (int(match[1]), int(match[2])) if match else None


def differs(one: str, other: str, *, minor: bool = True) -> bool:
    """Whether two versions are both known and differ in major.minor, or in the major number alone."""
    first, second = release(one), release(other)
    if first is None or second is None:
        return False
    return first != second if minor else first[0] != second[0]
