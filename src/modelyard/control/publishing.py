"""Publishing: an upload becomes a version, once it is known, scanned and loaded in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from modelyard import formats
from modelyard.artifacts import Upload
from modelyard.control import authorise, missing, pipelines, reading, recording, surveying, validation
from modelyard.control.platform import Platform
from modelyard.control.recording import Published
from modelyard.domain import model_files, naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import Invalid
from modelyard.domain.model import Artifact, ModelVersion, PublishSpec, Requirements
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.project import Trust
from modelyard.store import projects

KIND = "model"
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an upload."""

    path: str
    """Relative, with `/`."""
    chunks: AsyncIterator[bytes]


async def publish(
    platform: Platform, actor: Actor, project: str, spec: PublishSpec, parts: AsyncIterator[Part]
) -> Published:
    """Make a version of the uploaded files.

    A single archive is unpacked. Refused is raised, with the reason, for what is not a model, what could run
    code while it loads, and what does not load; nothing is kept of it then.
    """
    checked = await preview(platform, actor, project, spec, parts)
    return await recording.record(platform, actor, spec, checked)


async def preview(
    platform: Platform, actor: Actor, project: str, spec: PublishSpec, parts: AsyncIterator[Part]
) -> ModelVersion:
    """The version, still without a number, that `publish` would make of the files; raises what it would."""
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=spec.name)
    _check(spec)
    trust = await _trust(platform, project)
    location = model_files.parse(spec.source, "source") if model_files.is_volume(spec.source) else None
    if location is not None:
        spec = replace(spec, source=str(location))
        found = await _located(platform, project, location, spec, trust, parts)
    else:
        async with platform.artifacts.upload() as upload:
            await _receive(upload, parts if not spec.source else _read(platform, spec.source, parts))
            found = await _contents(upload, spec, trust)
    said = _completed(spec, found)
    draft = recording.draft(platform, actor, project, said, found.artifacts)
    return await validation.check(platform, replace(draft, warnings=found.notes))


def _check(spec: PublishSpec) -> None:
    naming.require_name(spec.name, "name")
    if spec.label:
        naming.require_label(spec.label, "label")
    for name in spec.artifacts:
        naming.require_name(name, f"artifacts.{name[:70]}")


async def _trust(platform: Platform, project: str) -> Trust:
    async with platform.database.read() as tx:
        found = await projects.get(tx, project)
    if found is None:
        raise missing.project(project)
    return found.spec.trust


async def _read(platform: Platform, source: str, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """What lies at an address, which replaces an upload."""
    await _refuse_files(parts)
    async for path, chunks in platform.sources.files(source):
        yield Part(path, chunks)


async def _located(
    platform: Platform,
    project: str,
    location: ModelFiles,
    spec: PublishSpec,
    trust: Trust,
    parts: AsyncIterator[Part],
) -> _Contents:
    """What lies on a volume of the cluster and stays there: a pod says what it is."""
    await _refuse_files(parts)
    surveying.require_alone(spec)
    seen = await surveying.survey(platform, project, location, hint=spec.format, trust=trust)
    known = reading.known(seen.detected, seen.notes, spec)
    artifact = replace(known.artifact, files=seen.files)
    return _Contents((artifact,), known.requirements, known.source_run, tuple(dict.fromkeys(known.notes)))


async def _refuse_files(parts: AsyncIterator[Part]) -> None:
    """Raise Invalid for files that came beside an address."""
    async for part in parts:
        raise Invalid(f"file: `{part.path[:100]}` was sent beside `source`; give one of them")


async def _receive(upload: Upload, parts: AsyncIterator[Part]) -> None:
    paths = []
    async for part in parts:
        await upload.add(part.path, part.chunks)
        paths.append(part.path)
    if not paths:
        raise Invalid("file: no file came with the request; send the model's files as parts named `file`")
    if len(paths) == 1 and paths[0].lower().endswith(_ARCHIVES):
        await upload.unpack(paths[0])


@dataclass(frozen=True, slots=True)
class _Contents:
    artifacts: tuple[Artifact, ...]
    requirements: Requirements
    source_run: str
    notes: tuple[str, ...]


async def _contents(upload: Upload, spec: PublishSpec, trust: Trust) -> _Contents:
    """What the files are, judged without running anything; only then they are kept."""
    if spec.pipeline is not None:
        await pipelines.write(upload, spec.pipeline)
    document = await asyncio.to_thread(formats.pipeline, upload.directory)
    folders = pipelines.folders(document[1], spec.artifacts) if document else spec.artifacts or {"model": ""}
    said = pipelines.part(spec) if document else spec
    known = {
        name: await asyncio.to_thread(reading.read, upload.directory, folder, spec=said, trust=trust)
        for name, folder in sorted(folders.items())
    }
    found = {name: replace(each.artifact, name=name) for name, each in known.items()}
    if document is None:
        artifacts = [replace(each, files=await upload.commit(folders[name])) for name, each in found.items()]
    else:
        whole = pipelines.artifact(document[1], document[0], found, folders, spec)
        artifacts = pipelines.with_files(whole, found, folders, await upload.commit())
    recorded = [each.requirements for each in known.values()]
    requirements = Requirements(
        python=next((each.python for each in recorded if each.python), ""),
        packages=tuple(dict.fromkeys(package for each in recorded for package in each.packages)),
    )
    run = next((each.source_run for each in known.values() if each.source_run), "")
    notes = dict.fromkeys(note for each in known.values() for note in each.notes)
    return _Contents(tuple(artifacts), requirements, run, tuple(notes))


def _completed(spec: PublishSpec, found: _Contents) -> PublishSpec:
    """The publisher's words first, then what the files record of their origin."""
    said, recorded = spec.requirements, found.requirements
    if not said.packages:
        said = Requirements(python=said.python or recorded.python, packages=recorded.packages)
    return replace(spec, requirements=said, source_run=spec.source_run or found.source_run)
