"""Who reaches the services of a project past the platform's gateway: everybody, or those that it lets in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import naming, wire
from modelyard.domain.errors import FieldError, Invalid

PATH = "spec.network"
PROJECTS, NAMESPACES = f"{PATH}.allow_projects", f"{PATH}.allow_namespaces"
MOST = 100
"""Names in one list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Whether a project is isolated in the cluster's network, and whom it lets in all the same.

    The platform's own pods are let in always, and so are those of the project's own namespace.
    """

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    isolated: bool = False
    """Services are asked through the gateway only, and by those that the lists let in."""
    allow_projects: tuple[str, ...] = ()
    """Projects whose pods may ask the services' pods."""
    allow_namespaces: tuple[str, ...] = ()
    """Namespaces of the cluster whose pods may, such as `monitoring`."""

    def __post_init__(self) -> None:
        errors = tuple(self._errors())
        if errors:
            raise Invalid(f"{errors[0].path}: {errors[0].message}", errors=errors)

    def _errors(self) -> Iterator[FieldError]:
        for path, names in ((PROJECTS, self.allow_projects), (NAMESPACES, self.allow_namespaces)):
            if names and not self.isolated:
                yield FieldError(path, "lets somebody into a project that is open to all; set isolated too")
            if len(names) > MOST:
                yield FieldError(path, f"has {len(names)} names, and {MOST} are the most")
            for number, name in enumerate(names[:MOST]):
                yield from _errors_of(name, f"{path}[{number}]", before=names[:number])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Who reaches the services of a project past the gateway, and what sees to it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    isolated: bool
    allow_projects: tuple[str, ...] = ()
    allow_namespaces: tuple[str, ...] = ()
    enforcement: str = ""
    """How isolation is enforced here; what nobody keeps says `not enforced` and why."""


def write(network: Network) -> str:
    """The wish in a few words, for events and tables; empty where everybody is let in."""
    if not network.isolated:
        return ""
    allowed = [f"project {name}" for name in network.allow_projects]
    allowed += [f"namespace {name}" for name in network.allow_namespaces]
    return f"isolated, but for {', '.join(allowed)}" if allowed else "isolated"


def _errors_of(name: str, path: str, *, before: tuple[str, ...]) -> Iterator[FieldError]:
    if name in before:
        yield FieldError(path, f"{name} is there twice; each name once")
        return
    try:
        naming.require_name(name, path)
    except Invalid as error:
        yield from error.errors
