"""What users say about an endpoint's traffic: weights, mirrors, pins and sticky assignment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.deployment import Stage
from modelyard.domain.errors import FieldError, Invalid

MOST = 16
"""Of each kind in one endpoint; Gateway API takes as many back ends for a rule."""

_REF = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(?:@(?:test|debug))?)(?:#([1-9][0-9]{0,8}))?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,200}")
_TAKEN = ("authorization", "x-api-key", "cookie", "host", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class Ref:
    """Where requests may go: a deployment, or one revision of it."""

    service: str
    """Within the project: `churn`, `churn@test`."""
    revision: int | None = None

    def __str__(self) -> str:
        return self.service if self.revision is None else f"{self.service}#{self.revision}"


class StickyBy(StrEnum):
    """By what a client is known again."""

    COOKIE = "cookie"
    """Which the gateway sets."""
    HEADER = "header"
    SOURCE = "source"
    """The address that the client comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorTo:
    """Who is sent a copy of some requests; its answers are dropped."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    to: str
    """A deployment of the project, or one revision of it: `churn-b`, `churn#4`."""
    percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PinTo:
    """Requests with this header, or with this cookie, go there whatever the weights are."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    to: str
    """A deployment of the project, or one revision of it."""
    value: str
    header: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """A client that was sent somewhere once is sent there again."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    by: StickyBy
    name: str = ""
    """Of the header; of the cookie, `modelyard-arm` if not said."""
    ttl_seconds: int = 30 * 86_400
    """How long a client keeps the cookie."""

    @property
    def key(self) -> str:
        """Name of the header or cookie; empty where the address counts."""
        return "modelyard-arm" if self.by is StickyBy.COOKIE and not self.name else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """How the requests to one service are divided; nothing said means that it answers all itself."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    weights: dict[str, int] = field(default_factory=dict)
    """Deployment (`churn-b`) or revision (`churn#4`) to percent; what remains is the service's own."""
    mirrors: tuple[MirrorTo, ...] = ()
    pins: tuple[PinTo, ...] = ()
    """The first that fits a request counts."""
    sticky: Sticky | None = None

    def __post_init__(self) -> None:
        wrong = [*_weights(self.weights), *_mirrors(self.mirrors), *_pins(self.pins), *_sticky(self.sticky)]
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)

    def named(self) -> Iterator[tuple[str, Ref]]:
        """Every place that is named, with the path of the field that names it."""
        for name in self.weights:
            yield f"spec.weights.{name}", parse(name)
        for i, mirror in enumerate(self.mirrors):
            yield f"spec.mirrors[{i}].to", parse(mirror.to)
        for i, pin in enumerate(self.pins):
            yield f"spec.pins[{i}].to", parse(pin.to)


def parse(text: str, path: str = "to") -> Ref:
    """Read `NAME[@STAGE][#REVISION]`; raises Invalid that names `path`."""
    found = _REF.fullmatch(text)
    if found is None:
        error = _unread(path, text)
        raise Invalid(f"{error.path}: {error.message}", errors=(error,))
    return Ref(found[1], int(found[3]) if found[3] else None)


def _unread(path: str, text: str) -> FieldError:
    stages = ", ".join(f"@{stage}" for stage in Stage if stage is not Stage.PRODUCTION)
    message = f"{text[:80]!a} is not NAME or NAME#REVISION; a stage ({stages}) comes before the `#`"
    return FieldError(path, message)


def _refs(path: str, *texts: str) -> Iterator[FieldError]:
    yield from (_unread(path, text) for text in texts if _REF.fullmatch(text) is None)


def _percent(path: str, value: int) -> Iterator[FieldError]:
    if not 0 <= value <= 100:
        yield FieldError(path, f"must be between 0 and 100 percent, got {value}")


def _most(path: str, count: int) -> Iterator[FieldError]:
    if count > MOST:
        yield FieldError(path, f"has {count} entries; at most {MOST} are possible")


def _weights(weights: dict[str, int]) -> Iterator[FieldError]:
    yield from _most("spec.weights", len(weights))
    for name, percent in weights.items():
        yield from _refs(f"spec.weights.{name}", name)
        yield from _percent(f"spec.weights.{name}", percent)
    total = sum(weights.values())
    if total > 100:
        said = ", ".join(f"{name} {percent}" for name, percent in weights.items())
        yield FieldError("spec.weights", f"sum to {total} ({said}); lower them to 100 percent or less")


def _mirrors(mirrors: tuple[MirrorTo, ...]) -> Iterator[FieldError]:
    yield from _most("spec.mirrors", len(mirrors))
    for i, mirror in enumerate(mirrors):
        yield from _refs(f"spec.mirrors[{i}].to", mirror.to)
        yield from _percent(f"spec.mirrors[{i}].percent", mirror.percent)
        if mirror.to in (earlier.to for earlier in mirrors[:i]):
            yield FieldError(f"spec.mirrors[{i}].to", f"{mirror.to} is a mirror already; name it once")


def _pins(pins: tuple[PinTo, ...]) -> Iterator[FieldError]:
    yield from _most("spec.pins", len(pins))
    for i, pin in enumerate(pins):
        path = f"spec.pins[{i}]"
        yield from _refs(f"{path}.to", pin.to)
        if bool(pin.header) == bool(pin.cookie):
            yield FieldError(path, "needs either `header` or `cookie`")
        if pin.header:
            yield from _header(f"{path}.header", pin.header)
        elif pin.cookie and not _TOKEN.fullmatch(pin.cookie):
            yield FieldError(f"{path}.cookie", f"{pin.cookie[:80]!a} is not the name of a cookie")
        if not _COOKIE_VALUE.fullmatch(pin.value):
            yield FieldError(
                f"{path}.value", "must be 1 to 200 visible ASCII characters without `,`, `;` or quotes"
            )


def _sticky(sticky: Sticky | None) -> Iterator[FieldError]:
    if sticky is None:
        return
    if sticky.by is StickyBy.HEADER:
        yield from _header("spec.sticky.name", sticky.name)
    elif sticky.by is StickyBy.COOKIE and not _TOKEN.fullmatch(sticky.key):
        yield FieldError("spec.sticky.name", f"{sticky.name[:80]!a} is not the name of a cookie")
    elif sticky.by is StickyBy.SOURCE and sticky.name:
        yield FieldError("spec.sticky.name", "says nothing where clients are known by address; leave it out")
    if not 1 <= sticky.ttl_seconds <= 400 * 86_400:
        yield FieldError("spec.sticky.ttl_seconds", f"must be 1 second to 400 days, got {sticky.ttl_seconds}")


def _header(path: str, name: str) -> Iterator[FieldError]:
    if not _TOKEN.fullmatch(name) or "_" in name:
        yield FieldError(path, f"{name[:80]!a} is not the name of a header (without underscores)")
    elif name.lower() in _TAKEN or name.lower().startswith(("x-modelyard-", "x-envoy-", "x-forwarded-")):
        yield FieldError(path, f"{name[:80]!a} has a meaning of its own; choose another header")
