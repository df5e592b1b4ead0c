"""What the readers of this room report about a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.domain.model import Format, Function, ModelTask, Requirements, Serialization, Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What a directory holds; empty where its files do not say."""

    format: Format
    serialization: Serialization
    entry: str
    """The file, relative to the directory, that the loader opens."""
    framework_version: str = ""
    algorithm: str = ""
    function: Function = Function.UNKNOWN
    signature: Signature | None = None
    declared: Signature | None = None
    """What its package says of inputs and sample; binding, as if the publisher had said it."""
    libraries: tuple[str, ...] = ()
    """Top-level packages that loading imports, besides the format's own."""
    notes: tuple[str, ...] = ()
    """Facts for people, such as an ONNX file's operator set."""
    warnings: tuple[str, ...] = ()
    """What may keep it from loading, such as operators that the library does not have."""
    requirements: Requirements = field(default_factory=Requirements)
    """The environment that its package records."""
    source_run: str = ""
    """The training run that its package records."""
    task: ModelTask = ModelTask.NONE
