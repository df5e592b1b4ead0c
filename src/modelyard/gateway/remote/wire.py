"""What the control plane and a router tell one another, as JSON: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from modelyard.domain.endpoint import Route
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies

ROUTES, ROUTED, STATISTICS, COPIES, NEWS, PORTS = (
    "/v1/routes", "/v1/routed", "/v1/statistics", "/v1/copies", "/v1/news", "/v1/ports",
)  # fmt: skip
"""Paths of a router's face, which want the token and the control plane's certificate."""
LIVE, READY = "/livez", "/readyz"
"""Paths of its other port, that answer everybody."""
_MOST_ERRORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """All that a router works by; a later one has a higher version."""

    version: int
    routes: tuple[Route, ...]
    certificate: Certificate | None = None
    beside: Certificate | None = None

    @property
    def replicas(self) -> frozenset[str]:
        """Names of those that requests or copies may be sent to."""
        return frozenset(target.replica for route in self.routes for target in route.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a router says of itself whenever it is asked, and at once when somebody asks for a sleeper."""

    identity: str
    """Another one after each start of its process."""
    version: int = 0
    """Of the routes that it works by; 0 while it has none."""
    serial: int = 0
    """Grows whenever a service is asked for; whoever asks says the last one that they know."""
    asked: tuple[str, ...] = ()
    """Services that sleep and were asked for since then."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """How many requests wait for each of these."""
    unopened: Mapping[int, str] = field(default_factory=dict)
    """Ports that could not be opened, and why."""
    failure: str = ""
    """Why its gateway does not serve; empty when it does."""
    leaving: bool = False
    """It was told to end and finishes what it has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a router did not take what it was sent."""

    error: str
    code: str
    version: int = 0
    """Of the routes that it has, when those that were sent are older."""


PUBLICATION: TypeAdapter[Publication] = TypeAdapter(Publication)
NEWS_OF: TypeAdapter[News] = TypeAdapter(News)
REFUSAL: TypeAdapter[Refusal] = TypeAdapter(Refusal)
READING: TypeAdapter[Reading | None] = TypeAdapter(Reading | None)
COPIES_OF: TypeAdapter[tuple[Copies, ...]] = TypeAdapter(tuple[Copies, ...])
NAMES: TypeAdapter[frozenset[str]] = TypeAdapter(frozenset[str])
NUMBERS: TypeAdapter[frozenset[int]] = TypeAdapter(frozenset[int])


def publication(document: bytes) -> Publication:
    """A publication as it was written; raises Invalid that names each wrong field."""
    try:
        return PUBLICATION.validate_json(document)
    except ValidationError as error:
        wrong = [
            FieldError(".".join(map(str, each["loc"])) or "publication", each["msg"])
            for each in error.errors()[:_MOST_ERRORS]
        ]
        told = "; ".join(f"{each.path}: {each.message}" for each in wrong)
        raise Invalid(f"these are no routes: {told}", errors=wrong) from error
