"""Endpoints: how users want a deployment's requests divided; most have nothing said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from modelyard.domain.deployment import Key
from modelyard.domain.traffic_spec import EndpointSpec
from modelyard.store import documents
from modelyard.store.documents import Document
from modelyard.store.tables import endpoints
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(EndpointSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was said of one endpoint."""

    generation: int = 0
    """Grows with every edit; 0 while nothing was ever said."""
    spec: EndpointSpec


async def get(tx: Snapshot, key: Key) -> Wish:
    """What was said of the deployment's endpoint."""
    row = await tx.row(sa.select(endpoints).where(*_here(key)))
    return _load(row) if row else Wish(spec=EndpointSpec())


async def all(tx: Snapshot, project: str = "") -> dict[str, Wish]:
    """`project/service` to what was said of it; of one project, or of every one."""
    rows = sa.select(endpoints).order_by(endpoints.c.project, endpoints.c.service)
    if project:
        rows = rows.where(endpoints.c.project == project)
    return {f"{row.project}/{row.service}": _load(row) for row in await tx.rows(rows)}


async def put(tx: Transaction, key: Key, spec: EndpointSpec, *, expected: int) -> Wish:
    """Store what is said of the deployment's endpoint when its generation is still `expected`.

    Raises Conflict when somebody else was faster, or when there is no such deployment.
    """
    what = f"endpoint {str(key)!r}"
    document = _DOCUMENT.dump(spec)
    if expected == 0:
        values = {"project": key.project, "service": key.service, "generation": 1, "document": document}
        await documents.insert(tx, endpoints, values, what=what)
        return Wish(generation=1, spec=spec)
    where = {"project": key.project, "service": key.service}
    return _load(
        await documents.compare_and_set(
            tx, endpoints, where, {"document": document}, expected=expected, what=what
        )
    )


def _here(key: Key) -> tuple[sa.ColumnElement[bool], ...]:
    return (endpoints.c.project == key.project, endpoints.c.service == key.service)


def _load(row: sa.Row[Any]) -> Wish:
    return Wish(generation=row.generation, spec=_DOCUMENT.load(row.document))
