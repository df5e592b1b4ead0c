"""What was published becomes a version: numbered, labelled, unique per training run, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.control import authorise, kinds, samples
from modelyard.control.models import require_unused
from modelyard.control.platform import Platform
from modelyard.control.versions import require_free_label
from modelyard.domain.access import Actor
from modelyard.domain.model import (
    Artifact,
    Format,
    Model,
    ModelVersion,
    PublishSpec,
    Validation,
)
from modelyard.domain.variant import Optimization
from modelyard.store import Transaction, models, versions, work

KIND = "model"
_UNTOLD = (Format.PYTHON, Format.TORCH, Format.KERAS, Format.MLFLOW, Format.PIPELINE)
"""Formats whose files may say nothing of what they take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What came of an upload."""

    version: ModelVersion
    created: bool
    """False when it updated the version that the same training run had published before."""


def draft(
    platform: Platform,
    actor: Actor,
    project: str,
    spec: PublishSpec,
    artifacts: tuple[Artifact, ...],
) -> ModelVersion:
    """A version that has no number yet."""
    return ModelVersion(
        project=project,
        model=spec.name,
        version="",
        label=spec.label,
        artifacts=tuple(
            _asked(_described(each, spec) if each in _whole(artifacts) else each, spec) for each in artifacts
        ),
        metrics=spec.metrics,
        requirements=spec.requirements,
        source_run=spec.source_run,
        source=spec.source,
        description=spec.description,
        size=sum(file.size for artifact in _whole(artifacts) for file in artifact.files),
        created_at=platform.at(),
        created_by=actor.name,
    )


async def record(platform: Platform, actor: Actor, spec: PublishSpec, checked: ModelVersion) -> Published:
    """Give it a number, or update the version that the same run published before.

    Such an update keeps number and creation. Its words change at will; its files only while no deployment
    uses the version, else Conflict is raised: what runs must stay what it was.
    """
    whole = _whole(checked.artifacts)
    artifacts = (_sampled(each, spec) if each in whole else each for each in checked.artifacts)
    checked = replace(checked, artifacts=tuple(artifacts))
    async with platform.database.begin() as tx:
        before = None
        if checked.source_run:
            before = await versions.find_run(tx, checked.project, checked.model, checked.source_run)
        if before is None:
            after, reason = await _insert(platform, tx, checked), "Published"
        else:
            after, reason = await _update(tx, before, checked)
        message = "; ".join([*([after.label] if after.label else []), *after.warnings])[:2000]
        await authorise.note(
            platform,
            tx,
            actor,
            project=after.project,
            kind=KIND,
            name=after.ref,
            reason=reason,
            message=message,
        )
        if after.validation is Validation.DEFERRED:
            key = kinds.version_key(after.project, after.model, after.version)
            await work.put(tx, kinds.VALIDATION, key, due_at=platform.clock())
    if after.validation is Validation.DEFERRED:
        platform.hint(kinds.VALIDATION, kinds.version_key(after.project, after.model, after.version))
    return Published(version=after, created=before is None)


async def _insert(platform: Platform, tx: Transaction, checked: ModelVersion) -> ModelVersion:
    model = await models.get(tx, checked.project, checked.model)
    if model is None:
        model = Model(project=checked.project, name=checked.model, created_at=platform.at())
        await models.insert(tx, model)
    numbered = replace(checked, version=str(model.next_version))
    if numbered.label:
        await require_free_label(tx, numbered, numbered.label)
    await versions.insert(tx, numbered)
    changed = replace(model, latest=numbered.version, next_version=model.next_version + 1)
    await models.update(tx, changed, expected=model.generation)
    return numbered


async def _update(tx: Transaction, before: ModelVersion, checked: ModelVersion) -> tuple[ModelVersion, str]:
    same = before.has_files_of(checked)
    if not same:
        await require_unused(tx, before.project, before.model, before.version)
    if checked.label:
        await require_free_label(tx, before, checked.label)
    after = replace(
        checked,
        version=before.version,
        label=checked.label or before.label,
        description=checked.description or before.description,
        metrics=checked.metrics or before.metrics,
        memory=before.memory if same else checked.memory,
        created_at=before.created_at,
        created_by=before.created_by,
    )
    after = await versions.update(tx, after, expected=before.generation)
    return after, "Updated" if same else "Replaced"


def _whole(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """The artifacts that the publisher speaks of: a pipeline, or else all."""
    return tuple(each for each in artifacts if each.format is Format.PIPELINE) or artifacts


def _described(artifact: Artifact, spec: PublishSpec) -> Artifact:
    """With the publisher's example, where nothing else can say what a model's own code takes."""
    known = artifact.signature
    if artifact.format not in _UNTOLD or known.inputs or known.sample is not None:
        return artifact
    return replace(artifact, signature=replace(known, sample=samples.by_name(spec.sample)))


def _asked(artifact: Artifact, spec: PublishSpec) -> Artifact:
    """With what the publisher asks of compiled variants."""
    return replace(artifact, optimization=Optimization(wanted=spec.optimize))


def _sampled(artifact: Artifact, spec: PublishSpec) -> Artifact:
    """With the publisher's example as its sample, where it fits."""
    sample = samples.sample_of(artifact.signature, spec.sample)
    if sample is None:
        return artifact
    return replace(artifact, signature=replace(artifact.signature, sample=sample))
