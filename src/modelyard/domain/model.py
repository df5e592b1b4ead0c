"""What a model and its immutable versions are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import model_files, wire
from modelyard.domain.footprint import Footprint
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.variant import Optimization, Optimize


class Format(StrEnum):
    """What a model file is."""

    SKLEARN = "sklearn"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    CATBOOST = "catboost"
    ONNX = "onnx"
    TORCH = "torch"
    KERAS = "keras"
    TENSORFLOW = "tensorflow"
    PMML = "pmml"
    SPARK = "spark"
    PYTHON = "python"
    MLFLOW = "mlflow"
    """An MLflow model that only MLflow itself can load."""
    HUGGINGFACE = "huggingface"
    PIPELINE = "pipeline"
    """Several models of one version, answered as one."""


class Serialization(StrEnum):
    """How the model was written to its file."""

    JOBLIB = "joblib"
    PICKLE = "pickle"
    SKOPS = "skops"
    XGBOOST_JSON = "xgboost-json"
    XGBOOST_UBJ = "xgboost-ubj"
    LIGHTGBM_TEXT = "lightgbm-text"
    CATBOOST_BINARY = "catboost-cbm"
    CATBOOST_JSON = "catboost-json"
    PMML = "pmml"
    SPARK_PIPELINE = "spark-pipeline"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch-export"
    TORCH_WEIGHTS = "torch-weights"
    """A state_dict, with the source code of its module beside it."""
    SAFETENSORS = "safetensors"
    """The same, with the weights in a file that is only data."""
    KERAS = "keras"
    KERAS_H5 = "keras-h5"
    SAVED_MODEL = "saved-model"
    PYTHON = "python"
    MLFLOW = "mlflow"
    HUGGINGFACE_ONNX = "huggingface-onnx"
    HUGGINGFACE_SAFETENSORS = "huggingface-safetensors"
    PIPELINE = "pipeline"


class Function(StrEnum):
    """What kind of answer a model gives."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    CLUSTERING = "clustering"
    UNKNOWN = "unknown"


class ModelTask(StrEnum):
    """What a language model is for, in Hugging Face's words."""

    NONE = ""
    TEXT_CLASSIFICATION = "text-classification"
    FEATURE_EXTRACTION = "feature-extraction"
    """Texts in, embeddings out."""


class Datatype(StrEnum):
    """Tensor element types of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One named input, target or output of a model."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    """Row-major, batch dimension included; -1 is variable."""
    columns: tuple[str, ...] = ()
    """Names along the last dimension, for tables and class probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    inputs: tuple[TensorSpec, ...] = ()
    targets: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    sample: dict[str, list[Any]] | None = None
    """One example request: input name to nested lists with a batch of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The environment that a model was made in."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    python: str = ""
    """The interpreter's version, such as `3.11.7`."""
    packages: tuple[str, ...] = ()
    """Pinned packages, such as `scikit-learn==1.5.2`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One stored file of an artifact."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    path: str
    """Relative to the artifact's directory, with `/`."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One model inside a version. Most versions have one, called `model`."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    format: Format
    serialization: Serialization
    entry: str
    """The file, relative to the artifact's directory, that the loader opens."""
    files: tuple[File, ...]
    framework_version: str = ""
    """Version of the library that made the file, as far as the file or the publisher says."""
    algorithm: str = ""
    """Class of the estimator, or the kind of graph."""
    function: Function = Function.UNKNOWN
    signature: Signature = field(default_factory=Signature)
    optimization: Optimization = field(default_factory=Optimization)
    variant: tuple[File, ...] = ()
    """The compiled variant's file, when there is one; `files` stay what was published."""
    task: ModelTask = ModelTask.NONE
    pipeline: Pipeline | None = None
    """The steps, when the format is `pipeline`."""


NO_MODEL = Artifact(name="none", format=Format.PYTHON, serialization=Serialization.PYTHON, entry="", files=())
"""Stands for the artifact of a service that has no model; it has no files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model of a pipeline, and where its inputs come from."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    artifact: Artifact
    """The version's artifact that answers, without its files: those are the pipeline's."""
    folder: str
    """Where it lies, relative to the pipeline's directory."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Input of the model to its source: `request.INPUT` or `STEP.OUTPUT`; empty joins by name."""
    after: str = ""
    """The step in front of it as written, which it takes from unless `inputs` says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Models that answer one after the other, as one."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    steps: tuple[Step, ...]
    """In an order in which each can be answered."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Output of the whole to `STEP.OUTPUT`; empty means all outputs of the last step."""


class Validation(StrEnum):
    """How far a version has been checked."""

    PASSED = "passed"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """An immutable version: files, what they are, and where they came from."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    model: str
    version: str
    """A number as text: "1", "2", …"""
    label: str = ""
    """An optional second name such as `v2026.11.22.1`, unique within the model."""
    artifacts: tuple[Artifact, ...]
    metrics: dict[str, Any] | str = ""
    requirements: Requirements = field(default_factory=Requirements)
    source_run: str = ""
    """Identity of the training run; publishing the same run again updates this version."""
    source: str = ""
    """Address that the files were read from, or still are on a volume; empty when they were uploaded."""
    description: str = ""
    size: int = 0
    """Bytes of all files."""
    validation: Validation = Validation.PASSED
    warnings: tuple[str, ...] = ()
    memory: Footprint = field(default_factory=Footprint)
    """What a worker was seen to use, once it was deployed."""
    created_at: datetime
    created_by: str
    generation: int = 1

    @property
    def ref(self) -> str:
        """The version's name within its project."""
        return f"{self.model}@{self.version}"

    @property
    def location(self) -> ModelFiles | None:
        """The volume that its files have never left; None when the platform keeps them."""
        return model_files.parse(self.source, "source") if model_files.is_volume(self.source) else None

    def has_files_of(self, other: ModelVersion) -> bool:
        """Whether the same files are at the same place: elsewhere they are others to whoever mounts them."""
        return self._contents() == other._contents() and self.location == other.location

    def _contents(self) -> dict[str, frozenset[tuple[str, str]]]:
        return {a.name: frozenset((f.path, f.sha256) for f in a.files) for a in self.artifacts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named line of versions."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    description: str = ""
    aliases: dict[str, str] = field(default_factory=dict)
    """Movable names, such as `champion`, to version numbers."""
    latest: str = ""
    """Number of the newest version; empty before the first."""
    next_version: int = 1
    """Numbers are never given twice, also not after a version was deleted."""
    generation: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpec:
    """What a publisher says about a version; everything may be left to detection."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str
    format: Format | None = None
    label: str = ""
    description: str = ""
    metrics: dict[str, Any] | str = ""
    requirements: Requirements = field(default_factory=Requirements)
    source_run: str = ""
    function: Function | None = None
    signature: Signature | None = None
    sample: Any = None
    """Example rows; become the signature's sample."""
    source: str = ""
    """Address instead of an upload: `s3://bucket/prefix` of `artifacts.sources`, or a volume, `pvc://claim/folder`
    or `oci://image@sha256:…#folder`, on which the files stay."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Several models in one version: artifact name to the folder in the upload that holds it."""
    optimize: Optimize = Optimize.AUTO
    """Whether estimators are compiled as well, and into what."""
    pipeline: dict[str, Any] | None = None
    """How these models answer as one: what a `pipeline.json` in the upload would say."""
