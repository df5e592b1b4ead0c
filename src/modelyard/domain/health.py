"""Whether a replica is well: what is asked of it, how often, and what the answers mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import texts, wire
from modelyard.domain.errors import FieldError, Invalid

READINESS_FAILED = "ReadinessFailed"
LIVENESS_FAILED = "LivenessFailed"

_HTTP = re.compile(r"(?:([0-9]{1,5}):)?(/\S{0,500})")
_SHELL = "shell:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question to a replica, asked again and again: either an address or a command."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    http: str = ""
    """`8080:/path`, or `/path` for the first port; an answer of 200 to 399 is good."""
    command: str | tuple[str, ...] = ""
    """A text for a shell, or a list of words; exit code 0 is good."""
    period_seconds: float = 10.0
    """How long to rest between two questions."""
    timeout_seconds: float = 5.0
    """How long an answer may take."""
    failure_threshold: int = 3
    """After how many bad answers in a row it counts as failed."""
    success_threshold: int = 1
    """After how many good answers in a row it counts as well again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Who gets requests, and who is started again.

    A replica that starts has `start_timeout_seconds` until its first good answer: nothing counts before.
    """

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    readiness: Probe | None = None
    """While it fails the replica gets no requests."""
    liveness: Probe | None = None
    """When it fails the process is started again."""

    @property
    def asks(self) -> bool:
        """Whether there is anything to ask."""
        return self.readiness is not None or self.liveness is not None


@dataclass(frozen=True, slots=True)
class Tally:
    """What the answers so far came to."""

    good: int = 0
    """In a row, since the last bad one."""
    bad: int = 0
    """In a row, since the last good one."""
    well: bool | None = None
    """None until the answers suffice to say."""


def count(tally: Tally, probe: Probe, *, good: bool) -> Tally:
    """The tally after one more answer: it turns only after as many in a row as the probe asks for."""
    goods, bads = (tally.good + 1, 0) if good else (0, tally.bad + 1)
    well = tally.well
    if goods >= probe.success_threshold:
        well = True
    elif bads >= probe.failure_threshold:
        well = False
    return Tally(goods, bads, well)


def target(http: str) -> tuple[int, str]:
    """The port (0 for the first one) and the path of `8080:/path` or `/path`; port 0 and no path if wrong."""
    found = _HTTP.fullmatch(http)
    return (int(found[1] or 0), found[2]) if found else (0, "")


def parse(text: str, path: str = "health") -> Health:
    """Health from `8080:/path`, `/path` or `shell:COMMAND`: ready and alive while that is good."""
    command = text.removeprefix(_SHELL).strip() if text.startswith(_SHELL) else ""
    probe = Probe(command=command) if command else Probe(http=text)
    health = Health(readiness=probe, liveness=probe)
    if wrong := errors(health, path):
        message = f"{text[:70]!a} is not a probe; write `8080:/path`, `/path` or `shell:COMMAND`"
        raise Invalid(f"{path}: {wrong[0].message}", errors=[FieldError(path, message)])
    return health


def errors(health: Health, path: str) -> list[FieldError]:
    """What is wrong with the probes, each with its remedy."""
    found = []
    for name, probe in (("readiness", health.readiness), ("liveness", health.liveness)):
        if probe is not None:
            found += [FieldError(f"{path}.{name}{where}", text) for where, text in _wrong(probe)]
    if health.liveness is not None and health.liveness.success_threshold != 1:
        found.append(FieldError(f"{path}.liveness.success_threshold", "must be 1: one good answer is life"))
    return found


def _wrong(probe: Probe) -> Iterator[tuple[str, str]]:
    if bool(probe.http) == bool(probe.command):
        yield "", "give either `http` or `command`"
    elif probe.http and not target(probe.http)[1]:
        yield ".http", "must be `PORT:/path` or `/path`, such as `8080:/healthz`"
    for each in texts.command_errors(probe.command, ".command"):
        yield each.path, each.message
    for name, value, least, most in (
        ("period_seconds", probe.period_seconds, 0.1, 3600),
        ("timeout_seconds", probe.timeout_seconds, 0.1, 3600),
        ("failure_threshold", probe.failure_threshold, 1, 1000),
        ("success_threshold", probe.success_threshold, 1, 1000),
    ):
        if not least <= value <= most:
            yield f".{name}", f"must be between {least} and {most}, got {value}"
