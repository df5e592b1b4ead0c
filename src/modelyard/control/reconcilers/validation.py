"""Validate versions whose runtime had to be built first."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import authorise, kinds, validation
from modelyard.control.line import NoTurn
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain.errors import Conflict, Invalid, ModelyardError, NotFound, Refused, TimedOut
from modelyard.domain.model import ModelVersion, Validation
from modelyard.domain.naming import parse_model_ref
from modelyard.domain.priority import Level
from modelyard.store import versions

WAITING = Again(2.0)
AGAIN = Again(0.5)
FAILED = "validation failed: "


async def reconcile(platform: Platform, text: str) -> Again | None:
    """Check one version when its runtime is ready; None once there is nothing left to find out."""
    project, rest = kinds.split(text)
    ref = parse_model_ref(rest)
    async with platform.database.read() as tx:
        version = await versions.get(tx, project, ref.name, ref.number)
    if version is None or version.validation is Validation.PASSED:
        return None
    try:
        checked = await validation.check(platform, version, level=Level.LOW)
    except NoTurn:
        return AGAIN  # it keeps its number in the line
    except (Refused, NotFound, Invalid, TimedOut) as error:
        await _failed(platform, version, error)
        return None
    if checked.validation is Validation.DEFERRED:
        return WAITING
    try:
        await validation.keep(platform, None, version, checked)
    except Conflict:
        # It was edited meanwhile: look at what it is now.
        return Again(0.0)
    return None


async def _failed(platform: Platform, version: ModelVersion, error: ModelyardError) -> None:
    kept = [warning for warning in version.warnings if not warning.startswith(("not validated yet", FAILED))]
    said = replace(version, warnings=(*kept, f"{FAILED}{error.message}"[:2000]))
    async with platform.database.begin() as tx:
        current = await versions.get(tx, version.project, version.model, version.version)
        if current is None or current.generation != version.generation:
            return
        await versions.update(tx, said, expected=version.generation)
        await authorise.note(
            platform, tx, None, project=version.project, kind=validation.KIND, name=version.ref,
            reason="ValidationFailed", message=error.message[:2000],
        )  # fmt: skip
