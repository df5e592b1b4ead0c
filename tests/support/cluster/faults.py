"""What goes wrong between a client and the API server, when a test wants it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Status:
    """An error in place of an answer."""

    code: int
    retry_after: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer for so long, and then a broken connection."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks after so many events of a watch, or at once."""

    after_events: int = 0


@dataclass(frozen=True, slots=True)
class Stale:
    """A list as it was so many versions ago."""

    versions: int


@dataclass(frozen=True, slots=True)
class Muddled:
    """Of a watch, news of two objects in the other order and the older of them twice, so many times."""

    times: int


Fault = Status | Hang | Cut | Stale | Muddled
Condition = Callable[[str, str], bool]
"""Of method and path; a watch has the method WATCH."""


@dataclass(slots=True)
class Faults:
    """The faults that are due."""

    due: list[tuple[Condition, Fault]] = field(default_factory=list)
    happened: list[tuple[str, str, Fault]] = field(default_factory=list)

    def add(self, fault: Fault, *, times: int = 1, where: Condition = lambda method, path: True) -> None:
        """Let it happen to the next `times` requests that fit."""
        self.due += [(where, fault)] * times

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that happens to this request."""
        for index, (fits, fault) in enumerate(self.due):
            if fits(method, path):
                del self.due[index]
                self.happened.append((method, path, fault))
                return fault
        return None
