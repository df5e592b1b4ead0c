"""Events: the record of what happened, which the database lets nobody change or delete."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.event import Event
from modelyard.store.documents import Document
from modelyard.store.tables import events
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Event, without=("id",))
_INDEXED = 200
"""Characters of a name that are searched by; a denied request may have named anything at any length."""


async def append(tx: Transaction, event: Event) -> Event:
    """Record the event and answer it with its id, which is larger than all before it."""
    values = {
        "project": _indexed(event.project),
        "kind": _indexed(event.kind),
        "name": _indexed(event.name),
        "document": _DOCUMENT.dump(event),
    }
    [row] = await tx.rows(sa.insert(events).values(values).returning(events.c.id))
    return replace(event, id=row.id)


async def list(  # noqa: PLR0913  the filters, each by its name
    tx: Snapshot,
    *,
    project: str = "",
    kind: str = "",
    name: str = "",
    after: int = 0,
    limit: int = 100,
    newest_first: bool = True,
) -> tuple[Event, ...]:
    """At most `limit` events that have all the given properties, empty ones being any.

    `after` is the id of the last event already seen: older ones follow when `newest_first`, else newer ones.
    Following with `newest_first=False` misses nothing: ids become visible in their order.
    """
    rows = sa.select(events).order_by(events.c.id.desc() if newest_first else events.c.id).limit(limit)
    for column, value in ((events.c.project, project), (events.c.kind, kind), (events.c.name, name)):
        if value:
            rows = rows.where(column == _indexed(value))
    if after:
        rows = rows.where(events.c.id < after if newest_first else events.c.id > after)
    return tuple(_load(row) for row in await tx.rows(rows))


def _indexed(text: str) -> str:
    return text[:_INDEXED].replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores no NUL


def _load(row: sa.Row[Any]) -> Event:
    return replace(_DOCUMENT.load(row.document), id=row.id)
