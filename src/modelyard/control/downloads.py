"""Downloads: the bytes of a version, verified while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from modelyard.control import authorise, missing, models
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.model import Artifact, File, Format, ModelVersion

KIND = "version"


@dataclass(frozen=True, slots=True)
class Download:
    """One file, to be streamed; reading raises Refused when its checksum is not the published one."""

    file: File
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """All files of one artifact, to be streamed one after another."""

    version: ModelVersion
    artifact: Artifact
    files: tuple[Download, ...]


async def artifact(
    platform: Platform, actor: Actor, project: str, ref: naming.ModelRef, *, name: str = ""
) -> Bundle:
    """The files of one artifact, and of no other; `name` may be empty when the version has one.

    Raises Refused for a version whose files the platform never had.
    """
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=str(ref))
    async with platform.database.read() as tx:
        version = await models.resolve(tx, project, ref)
    chosen = choose(version, name)
    if version.location is not None:
        raise Refused(f"{version.ref} was published from {version.source}, and its files are there only")
    files = tuple(Download(file, platform.artifacts.read(file)) for file in chosen.files)
    return Bundle(version, chosen, files)


async def file(
    platform: Platform, actor: Actor, project: str, ref: naming.ModelRef, *, artifact_name: str, path: str
) -> Download:
    """One file of an artifact; raises NotFound."""
    bundle = await artifact(platform, actor, project, ref, name=artifact_name)
    found = next((each for each in bundle.files if each.file.path == path), None)
    if found is None:
        known = ", ".join(each.file.path for each in bundle.files[:10])
        raise NotFound(f"{bundle.version.ref} has no file {path!r}; it has {known}")
    return found


def choose(version: ModelVersion, name: str) -> Artifact:
    """The artifact of that name, else the pipeline or the only one; raises NotFound naming those known."""
    known = {each.name: each for each in version.artifacts}
    whole = next((each for each in version.artifacts if each.format is Format.PIPELINE), None)
    if not name and whole is not None:
        return whole
    if not name and len(known) == 1:
        return version.artifacts[0]
    if name not in known:
        raise missing.artifact(version.ref, name, tuple(known))
    return known[name]
