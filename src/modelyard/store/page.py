"""One page of a list, and how the next one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from modelyard.domain.errors import FieldError, Invalid
from modelyard.store.transaction import Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, in its order."""

    items: tuple[T, ...]
    next: str = ""
    """Give it as `after` to get the following page; empty on the last one."""


async def read(
    tx: Snapshot, rows: sa.Select[Any], load: Callable[[Any], T], *, limit: int, cursor: str
) -> Page[T]:
    """At most `limit` of `rows`, whose column `cursor` names each row's place in the order."""
    if limit < 1:
        raise Invalid(
            f"limit must be at least 1, got {limit}", errors=[FieldError("limit", "must be at least 1")]
        )
    found = await tx.rows(rows.limit(limit + 1))
    kept = found[:limit]
    more = len(found) > limit
    return Page(tuple(load(row) for row in kept), str(getattr(kept[-1], cursor)) if more else "")


def number(after: str) -> int:
    """The cursor of a list that is ordered by a number; raises Invalid for any other text."""
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        rule = "must be the `next` of an earlier page of this list"
        raise Invalid(f"after {rule}", errors=[FieldError("after", rule)])
    return int(after)
