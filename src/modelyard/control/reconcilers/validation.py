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

BUILDING = Again(2.0)
UNBUILT = Again(30.0)
"""Somebody has to do something about its runtime."""
AGAIN = Again(5.0)
"""More than may wait in the line do; not so soon that each keeps its lease meanwhile."""
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
    try:
        if checked.validation is Validation.DEFERRED:
            if checked != version:
                await _seen(platform, version, checked)
            return BUILDING if validation.is_being_built(checked) else UNBUILT
        await validation.keep(platform, None, version, checked)
    except (Conflict, NotFound):
        # It was published anew or deleted meanwhile: look at what it is now.
        return Again(0.0)
    return None


async def _seen(platform: Platform, version: ModelVersion, checked: ModelVersion) -> None:
    async with platform.database.begin() as tx:
        await validation.seen(tx, version, checked)


async def _failed(platform: Platform, version: ModelVersion, error: ModelyardError) -> None:
    kept = [warning for warning in version.warnings if not warning.startswith(("not validated yet", FAILED))]
    said = replace(version, warnings=(*kept, f"{FAILED}{error.message}"[:2000]))
    async with platform.database.begin() as tx:
        try:
            await validation.seen(tx, version, said)
        except (Conflict, NotFound):
            return
        await authorise.note(
            platform, tx, None, project=version.project, kind=validation.KIND, name=version.ref,
            reason="ValidationFailed", message=error.message[:2000],
        )  # fmt: skip
