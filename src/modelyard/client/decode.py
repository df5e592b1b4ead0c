"""From the API's JSON to domain types."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

T = TypeVar("T")


def one(kind: type[T], document: Any) -> T:
    """A single value of `kind`."""
    value: T = _adapter(kind).validate_python(document)
    return value


def items(kind: type[T], document: Any) -> tuple[T, ...]:
    """The items of a page of `kind`."""
    adapter = _adapter(kind)
    return tuple(adapter.validate_python(each) for each in document["items"])


def plain(value: Any) -> Any:
    """The JSON form of a domain value."""
    return orjson.loads(TypeAdapter(type(value)).dump_json(value))


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    adapter: TypeAdapter[T] = _cached(kind)
    return adapter


@cache
def _cached(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
