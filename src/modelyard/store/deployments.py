"""Deployments: what was asked for, and beside it what reconcilers found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.deployment import Deployment, DeploymentStatus, Key
from modelyard.store import documents, page, usage
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import deployments
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Deployment, without=("id", "status"))
_STATUS = Document(DeploymentStatus)


async def get(tx: Snapshot, key: Key) -> Deployment | None:
    """The deployment of that identity, or None."""
    row = await tx.row(sa.select(deployments).where(*_here(key)))
    return _load(row) if row else None


async def list(tx: Snapshot, project: str, *, limit: int = 100, after: str = "") -> Page[Deployment]:
    """The project's deployments by service name, from behind the service `after`."""
    here = (deployments.c.project == project, deployments.c.service > after)
    rows = sa.select(deployments).where(*here).order_by(deployments.c.service)
    return await page.read(tx, rows, _load, limit=limit, cursor="service")


async def all(tx: Snapshot) -> tuple[Deployment, ...]:
    """The deployments of every project, by project and service name."""
    return await _select(tx)


async def insert(tx: Transaction, deployment: Deployment) -> Deployment:
    """Add a deployment and answer it with its new id.

    Raises Conflict when the name is taken in that stage or the project does not exist.
    """
    key = deployment.key
    values = {
        "project": key.project,
        "service": key.service,
        "generation": deployment.generation,
        "good_revision": deployment.status.good_revision,
        "status": _STATUS.dump(deployment.status),
    }
    await documents.insert(tx, deployments, values | _values(deployment), what=_what(key))
    row = await tx.row(sa.select(deployments.c.id).where(*_here(key)))
    if row is None:
        raise documents.missing(_what(key))
    return replace(deployment, id=row.id)


async def update(tx: Transaction, deployment: Deployment, *, expected: int) -> Deployment:
    """Store all but id and status when the generation is still `expected`; answer it as it now is.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    key = deployment.key
    changed = replace(deployment, generation=expected + 1)
    where = {"project": key.project, "service": key.service}
    return _load(
        await documents.compare_and_set(
            tx, deployments, where, _values(changed), expected=expected, what=_what(key)
        )
    )


async def keep(tx: Transaction, deployment: Deployment) -> None:
    """Store what the platform itself decided, such as ports: the generation stays.

    Only for a deployment that was read or written in the same transaction.
    """
    values = {"document": _DOCUMENT.dump(deployment)}
    await tx.change(sa.update(deployments).where(*_here(deployment.key)).values(values))


async def record(tx: Transaction, key: Key, status: DeploymentStatus) -> bool:
    """Store the status alone; False when the deployment is gone."""
    values = {"status": _STATUS.dump(status), "good_revision": status.good_revision}
    return await tx.change(sa.update(deployments).where(*_here(key)).values(values)) > 0


async def delete(tx: Transaction, key: Key) -> bool:
    """Forget the deployment and its revisions, and say whether it was there."""
    return await tx.change(sa.delete(deployments).where(*_here(key))) > 0


async def using_version(tx: Snapshot, project: str, model: str, version: str = "") -> tuple[Deployment, ...]:
    """Deployments of the project that want the model's version, or still rely on it as their last good one.

    An empty `version` asks for any of the model.
    """
    return await _select(tx, deployments.c.project == project, usage.of_version(model, version))


async def using_runtime(tx: Snapshot, project: str, runtime: str) -> tuple[Deployment, ...]:
    """Deployments of the project that want the runtime, or still rely on it in their last good revision."""
    return await _select(tx, deployments.c.project == project, usage.of_runtime(runtime))


async def _select(tx: Snapshot, *where: sa.ColumnElement[bool]) -> tuple[Deployment, ...]:
    order = (deployments.c.project, deployments.c.service)
    rows = await tx.rows(sa.select(deployments).where(*where).order_by(*order))
    return tuple(_load(row) for row in rows)


def _here(key: Key) -> tuple[sa.ColumnElement[bool], ...]:
    return (deployments.c.project == key.project, deployments.c.service == key.service)


def _values(deployment: Deployment) -> dict[str, Any]:
    return {**usage.columns(deployment.spec), "document": _DOCUMENT.dump(deployment)}


def _load(row: sa.Row[Any]) -> Deployment:
    return replace(_DOCUMENT.load(row.document), id=row.id, status=_STATUS.load(row.status))


def _what(key: Key) -> str:
    return f"deployment {str(key)!r}"
