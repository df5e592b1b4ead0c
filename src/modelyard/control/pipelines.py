"""Pipelines of an upload: the models that their steps name, and the artifact that answers as the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from modelyard.artifacts import Upload
from modelyard.control import reading
from modelyard.domain import naming, pipeline
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import (
    Artifact,
    File,
    Format,
    ModelVersion,
    Pipeline,
    PublishSpec,
    Serialization,
    Signature,
    Step,
)
from modelyard.domain.project import Trust

DOCUMENT = "pipeline.json"


async def write(upload: Upload, document: Mapping[str, Any]) -> None:
    """Put a document that came with the publisher's words beside the files, where the others have theirs."""

    async def chunks() -> AsyncIterator[bytes]:
        yield orjson.dumps(document)

    await upload.add(DOCUMENT, chunks())


def known(root: Path, document: tuple[str, Mapping[str, Any]], spec: PublishSpec, trust: Trust) -> Artifact:
    """The whole that the models in a directory make, without its files. Blocking; raises as reading does."""
    entry, said = document
    places = folders(said, spec.artifacts)
    parts = {
        name: replace(reading.read(root, folder, spec=part(spec), trust=trust).artifact, name=name)
        for name, folder in places.items()
    }
    return artifact(said, entry, parts, places, spec)


def folders(document: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, str]:
    """Model to folder: those that the publisher named, else each model lies in the folder of its name.

    Raises Invalid for a name that no artifact can have.
    """
    found = dict(said) or {model: model for model in pipeline.models(document)}
    for name in found:
        naming.require_name(name, f"pipeline: model {name[:70]}")
    if pipeline.NAME in found:
        message = f"`{pipeline.NAME}` is the name of the whole; call the model otherwise"
        raise Invalid(f"artifacts: {message}", errors=[FieldError("artifacts", message)])
    return found


def artifact(
    document: Mapping[str, Any],
    entry: str,
    parts: Mapping[str, Artifact],
    places: Mapping[str, str],
    spec: PublishSpec,
) -> Artifact:
    """The artifact that answers as the whole, still without its files. Raises Invalid naming the step."""
    found = pipeline.parse(document, {name: replace(part, files=()) for name, part in parts.items()}, places)
    last = found.steps[-1].artifact
    return Artifact(
        name=pipeline.NAME,
        format=Format.PIPELINE,
        serialization=Serialization.PIPELINE,
        entry=entry,
        files=(),
        algorithm=" → ".join(step.artifact.algorithm for step in found.steps),
        function=spec.function or last.function,
        signature=spec.signature or Signature(),
        task=last.task,
        pipeline=found,
    )


def with_files(
    whole: Artifact, parts: Mapping[str, Artifact], places: Mapping[str, str], files: tuple[File, ...]
) -> list[Artifact]:
    """The parts, each with the files of its folder, and behind them the whole with all `files`."""
    found = []
    for name, each in parts.items():
        folder = PurePosixPath(places[name])
        prefix = f"{folder.as_posix()}/" if folder.parts else ""
        own = (file for file in files if file.path.startswith(prefix))
        named = tuple(replace(file, path=file.path.removeprefix(prefix)) for file in own)
        found.append(replace(each, files=named))
    return [*found, replace(whole, files=files)]


def part(spec: PublishSpec) -> PublishSpec:
    """What of a publisher's words holds for each single model: they speak of the whole."""
    return replace(spec, format=None, function=None, signature=None, sample=None)


def last(version: ModelVersion) -> tuple[Artifact, ...]:
    """The version's artifacts, the whole behind its parts."""
    return tuple(sorted(version.artifacts, key=lambda each: each.format is Format.PIPELINE))


def completed(whole: Artifact, checked: Mapping[str, Artifact]) -> Artifact:
    """The whole with what was found out about its parts."""
    if whole.pipeline is None:
        return whole
    steps = tuple(_step(step, checked) for step in whole.pipeline.steps)
    return replace(whole, pipeline=Pipeline(steps=steps, outputs=whole.pipeline.outputs))


def _step(step: Step, checked: Mapping[str, Artifact]) -> Step:
    known = checked.get(step.artifact.name)
    return step if known is None else replace(step, artifact=replace(known, files=(), variant=()))
