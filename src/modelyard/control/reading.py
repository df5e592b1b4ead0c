"""What an upload is, read from its bytes: nothing of it is executed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from modelyard import formats
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Artifact, Format, Function, PublishSpec, Requirements, Signature
from modelyard.domain.project import Trust

_DECLARING = (
    Format.ONNX, Format.TORCH, Format.KERAS, Format.TENSORFLOW, Format.PMML, Format.SPARK,
)  # fmt: skip
"""Formats whose files declare their tensors, as far as they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One artifact, as its bytes and its publisher describe it."""

    artifact: Artifact
    """Still without its files."""
    requirements: Requirements
    """Those its package records, else the distributions that loading needs."""
    source_run: str
    notes: tuple[str, ...]


def read(root: Path, folder: str, *, spec: PublishSpec, trust: Trust, entry: str = "") -> Known:
    """Detect and scan the artifact below `root / folder`, or only its file `entry`. Blocking.

    Raises Invalid or Refused for what is not a model or could run code that the project does not trust.
    """
    directory = _inside(root, folder)
    detected = formats.detect(directory, hint=spec.format, entry=entry)
    return known(detected, formats.scan(directory, detected, trust=trust), spec)


def known(detected: formats.Detected, notes: tuple[str, ...], spec: PublishSpec) -> Known:
    """What was detected and scanned, wherever that was, with what the publisher says."""
    artifact = Artifact(
        name="model",
        format=detected.format,
        serialization=detected.serialization,
        entry=detected.entry,
        files=(),
        framework_version=detected.framework_version,
        algorithm=detected.algorithm,
        function=detected.function if spec.function in (None, Function.UNKNOWN) else spec.function,
        signature=_signature(spec.signature, detected),
        task=detected.task,
    )
    return Known(
        artifact=artifact,
        requirements=_requirements(detected),
        source_run=detected.source_run,
        notes=notes,
    )


def rescan(directory: Path, artifact: Artifact, *, trust: Trust) -> tuple[str, ...]:
    """Scan a stored artifact again; raises Refused. Blocking: call it in a thread."""
    if artifact.pipeline is not None:
        return ()  # its models are artifacts of their own
    detected = formats.detect(directory, hint=artifact.format)
    return formats.scan(directory, detected, trust=trust)


def _inside(root: Path, folder: str) -> Path:
    """The folder of the upload that holds the artifact; never one outside it."""
    parts = PurePosixPath(folder).parts
    directory = root.joinpath(*parts)
    if ".." in parts or folder.startswith("/") or not directory.is_dir():
        message = f"{folder[:70]!r} is not a folder of the upload"
        raise Invalid(f"artifacts: {message}", errors=[FieldError("artifacts", message)])
    return directory


def _requirements(detected: formats.Detected) -> Requirements:
    recorded = detected.requirements
    return recorded if recorded.packages else replace(recorded, packages=formats.requirements(detected))


def _signature(said: Signature | None, detected: formats.Detected) -> Signature:
    """The publisher's word first, completed by what the file says, if it is all there is to know.

    Graphs, PMML documents and Spark pipelines declare what they take; what the bytes of an estimator tell is
    less than what the loaded one does, and must not be held against it.
    """
    said, found = said or Signature(), detected.declared or Signature()
    if detected.format in _DECLARING and detected.signature:
        found = replace(
            detected.signature, inputs=found.inputs or detected.signature.inputs, sample=found.sample
        )
    return Signature(
        inputs=said.inputs or found.inputs,
        targets=said.targets or found.targets,
        outputs=said.outputs or found.outputs,
        sample=said.sample or found.sample,
    )
