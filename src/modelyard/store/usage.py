"""Which versions and runtimes a deployment keeps in use."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.domain.deployment import DeploymentSpec
from modelyard.store.tables import deployments, revisions


def columns(spec: DeploymentSpec) -> dict[str, str]:
    """The columns of deployments and revisions that say what a spec refers to."""
    model, _, version = spec.model.partition("@")
    return {"model": model, "version": version, "runtime": spec.runtime}


def of_version(model: str, version: str) -> sa.ColumnElement[bool]:
    """Deployments whose spec or good revision has this version; any of the model when `version` is empty."""
    wanted, good = deployments.c.model == model, revisions.c.model == model
    if version:
        wanted &= deployments.c.version == version
        good &= revisions.c.version == version
    return sa.or_(wanted, _good_revision(good))


def of_runtime(runtime: str) -> sa.ColumnElement[bool]:
    """Deployments whose spec or good revision has this runtime."""
    return sa.or_(deployments.c.runtime == runtime, _good_revision(revisions.c.runtime == runtime))


def _good_revision(which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """It serves while a newer revision rolls out, and is what a failed one falls back to."""
    return sa.exists().where(
        revisions.c.project == deployments.c.project,
        revisions.c.service == deployments.c.service,
        revisions.c.number == deployments.c.good_revision,
        which,
    )
