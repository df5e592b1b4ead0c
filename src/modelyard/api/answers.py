"""The shapes of lists and small answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from modelyard.domain import wire

T = TypeVar("T")
C = TypeVar("C", covariant=True)


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A page of a list; `next` goes into `after` for the page behind it, and is empty on the last."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    items: tuple[T, ...]
    next: str = ""


class _Page(Protocol[C]):
    @property
    def items(self) -> tuple[C, ...]: ...
    @property
    def next(self) -> str: ...


def page(of: _Page[T]) -> Items[T]:
    """A page of the store as an answer."""
    return Items(of.items, of.next)


def everything(items: Iterable[T]) -> Items[T]:
    """A list that comes whole."""
    return Items(tuple(items))


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """An answer that carries a service's token."""

    token: str
