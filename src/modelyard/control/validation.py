"""Validation: a version is loaded once, in a process of its own, and says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modelyard.backends.base import Guest, Task, TaskKind
from modelyard.control import (
    authorise,
    environments,
    kinds,
    missing,
    models,
    pipelines,
    reading,
    surveying,
    tasks,
    trials,
    variants,
)
from modelyard.control.line import NoTurn
from modelyard.control.platform import Platform
from modelyard.domain import environment, naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import Conflict, Refused
from modelyard.domain.model import Artifact, Function, ModelTask, ModelVersion, Signature, Validation
from modelyard.domain.priority import Level
from modelyard.domain.project import Trust
from modelyard.domain.runtime import AUTO, HOST, RuntimeState, RuntimeStatus
from modelyard.store import Transaction, projects, runtimes, work
from modelyard.store import versions as store

KIND = "version"
_SIGNATURE = TypeAdapter(Signature)
_NO_TURN = "not validated yet: {}; the version is loaded when its turn comes"
_BEING_BUILT = "is being built; the version is loaded once it is ready"
_PENDING = f"not validated yet: runtime {{}} {_BEING_BUILT}"
_UNBUILT = (
    "not validated yet: runtime {0} cannot be built ({1}); mend that and have it built again "
    "(`modelyard runtime build {0}`), and the version is loaded then"
)


async def validate(platform: Platform, actor: Actor, project: str, ref: naming.ModelRef) -> ModelVersion:
    """Check a stored version again: checksums, scan, and a load in a process of its own; raises Refused."""
    await authorise.in_project(platform, actor, Verb.PUBLISH, project, kind=KIND, name=str(ref))
    async with platform.database.read() as tx:
        owner = await projects.get(tx, project)
        if owner is None:
            raise missing.project(project)
        version = await models.resolve(tx, project, ref)
    notes = await _scanned(platform, version, owner.spec.trust)
    checked = await check(platform, replace(version, warnings=notes))
    return await keep(platform, actor, version, checked)


async def _scanned(platform: Platform, version: ModelVersion, trust: Trust) -> tuple[str, ...]:
    """What is to be said of the files, which are as they were published; raises Refused."""
    notes: tuple[str, ...] = ()
    if version.location is not None:
        (artifact,) = version.artifacts
        await platform.artifacts.verify(artifact.variant)
        seen = await surveying.survey(
            platform, version.project, version.location, hint=artifact.format, trust=trust
        )
        surveying.require_same(version, seen)
        return seen.notes
    for artifact in version.artifacts:
        await platform.artifacts.verify((*artifact.files, *artifact.variant))
        directory = await platform.artifacts.tree(artifact.files)
        notes += await asyncio.to_thread(reading.rescan, directory, artifact, trust=trust)
    return notes


async def check(platform: Platform, version: ModelVersion, *, level: Level = Level.NORMAL) -> ModelVersion:
    """The version as loading it shows it to be; DEFERRED when it cannot be loaded yet.

    Raises Refused when it does not load; NoTurn when its turn does not come, if it has a number already.
    """
    checked: list[Artifact] = []
    warnings = [w for w in version.warnings if not w.startswith("not validated yet")]
    state = Validation.PASSED
    for each in pipelines.last(version):
        artifact = pipelines.completed(each, {known.name: known for known in checked})
        name, runtime, notes = await _runtime(platform, version, artifact)
        warnings += [note for note in notes if note not in warnings]
        if runtime.state is RuntimeState.READY:
            guest = await trials.guest_of(platform, version, artifact, name, runtime)
            inspected = _inspected(platform, version, artifact, guest, level, goes_on=bool(checked))
            try:
                checked.append(await inspected)
                continue
            except NoTurn as error:
                if version.version:
                    raise
                pending = _NO_TURN.format(error.message)  # its files are there, and must not be sent again
        elif runtime.state is RuntimeState.FAILED:
            pending = _UNBUILT.format(name, runtime.reason)
        else:
            pending = _PENDING.format(name)
        state = Validation.DEFERRED
        warnings.append(pending)
        checked.append(artifact)
    return replace(version, artifacts=tuple(checked), validation=state, warnings=tuple(warnings))


async def keep(
    platform: Platform, actor: Actor | None, before: ModelVersion, checked: ModelVersion
) -> ModelVersion:
    """Store what a check found beside what was changed meanwhile; what is not loaded yet is loaded later.

    Raises Conflict when that was the files or what is said of them, NotFound when the version is gone.
    """
    async with platform.database.begin() as tx:
        after = await seen(tx, before, checked)
        await authorise.note(
            platform, tx, actor, project=before.project, kind=KIND, name=before.ref, reason="Validated",
            message=checked.validation.value,
        )  # fmt: skip
        key = kinds.version_key(after.project, after.model, after.version)
        if after.validation is Validation.DEFERRED:
            await work.put(tx, kinds.VALIDATION, key, due_at=platform.clock())
    if after.validation is Validation.DEFERRED:
        platform.hint(kinds.VALIDATION, key)
    return after


async def seen(tx: Transaction, before: ModelVersion, checked: ModelVersion) -> ModelVersion:
    """The version as it is now, with what a check of it as it was found; raises Conflict, NotFound."""
    now = await store.get(tx, before.project, before.model, before.version)
    if now is None:
        raise missing.version(before.project, before.ref)
    published = now.generation != before.generation and now.artifacts != before.artifacts
    if published or not now.has_files_of(before):
        raise Conflict(f"version {before.ref} was published anew while it was checked; validate it again")
    after = replace(
        now, artifacts=checked.artifacts, validation=checked.validation, warnings=checked.warnings
    )
    if after != now:
        await store.record(tx, after)
    return after


def is_being_built(checked: ModelVersion) -> bool:
    """Whether it waits for a runtime that comes by itself."""
    return any(_BEING_BUILT in warning for warning in checked.warnings)


async def _runtime(
    platform: Platform, version: ModelVersion, artifact: Artifact
) -> tuple[str, RuntimeStatus, tuple[str, ...]]:
    """Name, state and warnings of the runtime to load it in."""
    host = await platform.environments.host()
    async with platform.database.read() as tx:
        choice = await environments.choose(platform, tx, version, artifact, wanted=AUTO, host=host)
        known = (await runtimes.list(tx, version.project, limit=1000)).items
    if choice.name == HOST:
        return HOST, host, choice.warnings
    states = {r.name: r.status for r in known}
    names = (choice.name, *environment.suitable(version, artifact, known))
    for name in names:
        if name in states and states[name].state is RuntimeState.READY:
            return name, states[name], choice.warnings
    if choice.build is not None:
        await environments.build(platform, choice.build)
        return choice.name, RuntimeStatus(), choice.warnings
    return choice.name, states.get(choice.name, RuntimeStatus()), choice.warnings


async def _inspected(
    platform: Platform,
    version: ModelVersion,
    artifact: Artifact,
    guest: Guest,
    level: Level,
    *,
    goes_on: bool,
) -> Artifact:
    async with variants.workplace(artifact) as (optimize, out):
        task = Task(
            kind=TaskKind.INSPECT,
            guest=guest,
            timeout_seconds=platform.test_timeout_seconds,
            optimize=optimize,
            out=out,
        )
        answer = await tasks.run(platform, tasks.subject_of(version), task, level=level, goes_on=goes_on)
        if answer.result is None:
            ref = version.ref if version.version else version.model
            raise trials.failed(answer, {"model": ref, "project": version.project, "runtime": guest.runtime})
        return await variants.settle(platform, completed(artifact, answer.result), answer, out)


def completed(artifact: Artifact, found: Mapping[str, Any]) -> Artifact:
    """The artifact with what its own library says of it; the publisher's words stay where it says nothing."""
    try:
        seen = _SIGNATURE.validate_python(found.get("signature") or {})
        function = Function(found.get("function") or Function.UNKNOWN)
        task = ModelTask(found.get("task") or artifact.task)
    except (ValidationError, ValueError) as error:
        raise Refused(
            f"SignatureMismatch: the model describes itself in a way that is not understood: {error}"
        ) from error
    said = artifact.signature
    return replace(
        artifact,
        framework_version=artifact.framework_version or str(found.get("framework_version") or ""),
        algorithm=artifact.algorithm or str(found.get("algorithm") or ""),
        function=artifact.function if function is Function.UNKNOWN else function,
        task=task,
        signature=Signature(
            inputs=seen.inputs or said.inputs,
            targets=said.targets or seen.targets,
            outputs=seen.outputs or said.outputs,
            sample=said.sample if _fits(said.sample, seen) else seen.sample,
        ),
    )


def _fits(sample: Mapping[str, Any] | None, seen: Signature) -> bool:
    """Whether the publisher's example is under the names that the model itself has for its inputs."""
    return bool(sample) and (not seen.inputs or {each.name for each in seen.inputs} <= set(sample or ()))
