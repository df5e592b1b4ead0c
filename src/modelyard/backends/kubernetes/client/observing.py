"""What is told to whoever measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Observer(Protocol):
    """Is told of every request and of everything that is followed."""

    def cluster_called(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """One try of a request has ended, with a status or `none` for no answer."""

    def cluster_follows(self, what: str, stale_seconds: Callable[[], float]) -> None:
        """A kind is followed; the function says for how long nothing was heard of it, 0 while all is well."""


class Unobserved:
    """Measures nothing."""

    def cluster_called(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """Nothing."""

    def cluster_follows(self, what: str, stale_seconds: Callable[[], float]) -> None:
        """Nothing."""
