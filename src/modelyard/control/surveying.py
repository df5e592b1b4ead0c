"""Versions whose files stay on a volume of a cluster: a pod that mounts it says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modelyard import formats
from modelyard.artifacts.paths import clean
from modelyard.backends.base import Guest, Task, TaskKind
from modelyard.control import tasks, trials
from modelyard.control.platform import Platform
from modelyard.domain.errors import FieldError, Invalid, Refused
from modelyard.domain.model import NO_MODEL, File, Format, ModelVersion, PublishSpec
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.project import Trust

_SECONDS = 2400.0
"""How long all files may take to be read once."""
_FIELD = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What is on a volume."""

    files: tuple[File, ...]
    detected: formats.Detected
    notes: tuple[str, ...]


_SURVEYED = TypeAdapter(Surveyed)


async def survey(
    platform: Platform, project: str, location: ModelFiles, *, hint: Format | None, trust: Trust
) -> Surveyed:
    """The files at a location, and what model they are.

    Raises Invalid where nothing here mounts it, what an upload would raise, and what a pod's failure means;
    NoTurn when its turn does not come.
    """
    if why := platform.backend.refuses_model_files(location):
        raise Invalid(f"{_FIELD}: {why}", errors=[FieldError(_FIELD, why)])
    env = {"MODELYARD_PROJECT": project}
    guest = Guest(artifact=NO_MODEL, path=Path("/"), interpreter="", runtime="", env=env, location=location)
    request = {"format": hint.value if hint else "", "trust": trust.value}
    task = Task(kind=TaskKind.SURVEY, guest=guest, request=request, timeout_seconds=_SECONDS)
    answer = await tasks.run(platform, tasks.Subject(project, str(location)), task)
    if answer.result is None:
        raise trials.failed(answer, {"model": str(location), "project": project, "runtime": ""})
    if refused := answer.result.get("refused"):
        raise _refusal(refused)
    return _surveyed(answer.result)


def require_alone(spec: PublishSpec) -> None:
    """Raise Invalid for several models at one location: those are uploaded."""
    for name, said in (("artifacts", spec.artifacts), ("pipeline", spec.pipeline)):
        if said:
            message = f"one model is published from a volume; upload the files to publish with `{name}`"
            raise Invalid(f"{name}: {message}", errors=[FieldError(name, message)])


def require_same(version: ModelVersion, found: Surveyed) -> None:
    """Raise Refused naming the first file that is not on the volume as it was published."""
    there = {file.path: file for file in found.files}
    for file in (file for artifact in version.artifacts for file in artifact.files):
        now = there.get(file.path)
        if now is None:
            raise Refused(f"ArtifactCorrupt: `{file.path}` is not at {version.source} any more")
        if now != file:
            raise Refused(
                f"ArtifactCorrupt: `{file.path}` at {version.source} has sha256 {now.sha256} and was "
                f"published with {file.sha256}; put it back, or publish what is there as a version of its own"
            )


def _surveyed(result: Mapping[str, Any]) -> Surveyed:
    try:
        found = _SURVEYED.validate_python(result)
    except ValidationError as error:
        raise Refused(f"the volume was described in a way that is not understood: {error}") from error
    for file in found.files:
        if clean(file.path, field=_FIELD) != file.path:
            raise Refused(f"{_FIELD}: `{file.path[:100]}` is no plain path")
    return found


def _refusal(said: Mapping[str, Any]) -> Invalid | Refused:
    errors = [FieldError(str(each["path"]), str(each["message"])) for each in said.get("errors", ())]
    kind = Invalid if said.get("code") == Invalid.code else Refused
    return kind(str(said.get("message")), errors=errors)
