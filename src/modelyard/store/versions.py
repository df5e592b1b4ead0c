"""Model versions, and which stored files they need."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import ModelVersion
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import version_files, versions
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(ModelVersion)


async def get(tx: Snapshot, project: str, model: str, version: str) -> ModelVersion | None:
    """The version of that number, or None; labels and aliases are not looked up."""
    return await _find(tx, project, model, versions.c.version == version)


async def list(
    tx: Snapshot, project: str, model: str, *, limit: int = 100, after: str = ""
) -> Page[ModelVersion]:
    """The model's versions, newest first, from behind the number `after`."""
    here = [versions.c.project == project, versions.c.model == model]
    if after:
        here.append(versions.c.number < page.number(after))
    rows = sa.select(versions).where(*here).order_by(versions.c.number.desc())
    return await page.read(tx, rows, _load, limit=limit, cursor="version")


async def insert(tx: Transaction, version: ModelVersion) -> None:
    """Add a version; raises Conflict when its number or label is taken or the model does not exist."""
    if not (version.version.isascii() and version.version.isdigit()):
        rule = f"must be a number as text, got {version.version!r}"
        raise Invalid(f"version {rule}", errors=[FieldError("version", rule)])
    values = {
        "project": version.project,
        "model": version.model,
        "version": version.version,
        "number": int(version.version),
        "generation": version.generation,
    }
    what = f"{_what(version)}, or its label {version.label!r}," if version.label else _what(version)
    await documents.insert(tx, versions, values | _values(version), what=what)
    await _insert_files(tx, version)


async def update(tx: Transaction, version: ModelVersion, *, expected: int) -> ModelVersion:
    """Store it when its generation is still `expected`, and answer it with the next one.

    Raises Conflict with the current generation when somebody else was faster, Conflict when another version
    has its label, NotFound when it is gone.
    """
    changed = replace(version, generation=expected + 1)
    where = {"project": version.project, "model": version.model, "version": version.version}
    await documents.compare_and_set(
        tx, versions, where, _values(changed), expected=expected, what=_what(version)
    )
    await _replace_files(tx, version)
    return changed


async def record(tx: Transaction, version: ModelVersion) -> None:
    """Store what was seen of a version that was read in this transaction; one that is gone is passed over.

    Its generation stays: what is seen is not wanted, and nobody's change of it is refused for that.
    """
    there = sa.update(versions).where(*_here(versions, version))
    if await tx.change(there.values(**_values(version))):
        await _replace_files(tx, version)


async def delete(tx: Transaction, project: str, model: str, version: str) -> bool:
    """Forget the version, and say whether it was there."""
    here = (versions.c.project == project, versions.c.model == model, versions.c.version == version)
    return await tx.change(sa.delete(versions).where(*here)) > 0


async def find_label(tx: Snapshot, project: str, model: str, label: str) -> ModelVersion | None:
    """The version with that label, or None."""
    return await _find(tx, project, model, versions.c.label == label)


async def find_run(tx: Snapshot, project: str, model: str, run: str) -> ModelVersion | None:
    """The newest version that the training run `run` published, or None."""
    return await _find(tx, project, model, versions.c.run == _digest(run)) if run else None


async def all_files(tx: Snapshot) -> frozenset[str]:
    """The sha256 of every file that some version needs."""
    rows = await tx.rows(sa.select(version_files.c.sha256).distinct())
    return frozenset(row.sha256 for row in rows)


async def _find(tx: Snapshot, project: str, model: str, which: sa.ColumnElement[bool]) -> ModelVersion | None:
    here = (versions.c.project == project, versions.c.model == model, which)
    row = await tx.row(sa.select(versions).where(*here).order_by(versions.c.number.desc()).limit(1))
    return _load(row) if row else None


def _here(table: sa.Table, version: ModelVersion) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.project == version.project,
        table.c.model == version.model,
        table.c.version == version.version,
    )


async def _replace_files(tx: Transaction, version: ModelVersion) -> None:
    await tx.change(sa.delete(version_files).where(*_here(version_files, version)))
    await _insert_files(tx, version)


async def _insert_files(tx: Transaction, version: ModelVersion) -> None:
    digests = sorted(
        {file.sha256 for artifact in version.artifacts for file in (*artifact.files, *artifact.variant)}
    )
    identity = {"project": version.project, "model": version.model, "version": version.version}
    if digests:
        await tx.change(sa.insert(version_files), [identity | {"sha256": digest} for digest in digests])


def _values(version: ModelVersion) -> dict[str, Any]:
    return {
        "label": version.label or None,
        "run": _digest(version.source_run),
        "document": _DOCUMENT.dump(version),
    }


def _digest(run: str) -> str | None:
    """What the column holds: a run's identity may be longer than an index takes."""
    return hashlib.sha256(run.encode()).hexdigest() if run else None


def _load(row: sa.Row[Any]) -> ModelVersion:
    return _DOCUMENT.load(row.document)


def _what(version: ModelVersion) -> str:
    return f"version {version.ref!r} of project {version.project!r}"
