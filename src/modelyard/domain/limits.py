"""How much a service takes on, and when the gateway stops sending it requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.errors import FieldError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gateway enforces for one service; 0 everywhere is no limit. No replica is replaced for it."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    requests_per_second: float = 0.0
    """On average; more are answered 429 with `Retry-After`."""
    burst: int = 0
    """How many may come at once; 0 means one second's worth."""
    concurrency: int = 0
    """Requests in progress; more are answered 503 unless they may wait."""
    pending: int = 0
    """Requests that may wait at the gateway for one of `concurrency` to end."""
    failures: int = 0
    """After so many failed answers (5xx) in a row a replica gets no requests for a while."""
    open_seconds: float = 10.0
    """How long it gets none; twice as long when it fails again, three times after that, and so on."""
    retries: int = 2
    """How often a request that no replica has begun is given to another one."""

    def wrong(self, path: str) -> Iterator[FieldError]:
        """What cannot be, with its place below `path`."""
        for name, value, low, high in (
            ("requests_per_second", self.requests_per_second, 0, 1_000_000),
            ("burst", self.burst, 0, 1_000_000),
            ("concurrency", self.concurrency, 0, 1_000_000),
            ("pending", self.pending, 0, 1_000_000),
            ("failures", self.failures, 0, 1000),
            ("open_seconds", self.open_seconds, 0.1, 3600),
            ("retries", self.retries, 0, 5),
        ):
            if not low <= value <= high:
                yield FieldError(f"{path}.{name}", f"must be between {low} and {high}, got {value}")
        if self.pending and not self.concurrency:
            yield FieldError(f"{path}.pending", "needs `concurrency`: without it nobody waits at the gateway")
        if self.burst and not self.requests_per_second:
            yield FieldError(f"{path}.burst", "needs `requests_per_second`, which it is a part of")
        if 0 < self.requests_per_second < 0.01:
            yield FieldError(f"{path}.requests_per_second", "must be at least 0.01, or 0 for no limit")
