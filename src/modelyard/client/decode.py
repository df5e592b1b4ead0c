"""From the API's JSON to domain types."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

T = TypeVar("T")
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
"""Made once for each kind: that takes milliseconds."""


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
    return orjson.loads(_adapter(type(value)).dump_json(value))


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
