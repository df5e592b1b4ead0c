"""PipelineModels of Spark: a directory with one folder per stage, whose metadata is JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.domain.model import Datatype, Format, Function, Serialization, Signature, TensorSpec
from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

PIPELINE = "org.apache.spark.ml.PipelineModel"
OWN = "org.apache.spark.ml."
PART = "part-"
READ = ("inputCol", "inputCols", "featuresCol", "userCol", "itemCol", "itemsCol")
"""Parameters that name the columns that a stage reads."""
WRITTEN = (
    "outputCol", "outputCols", "predictionCol", "probabilityCol", "rawPredictionCol", "topicDistributionCol",
    "quantilesCol", "varianceCol", "leafCol",
)  # fmt: skip
"""Parameters that name the columns that a stage writes."""
TEXTS = frozenset({"StringIndexerModel", "Tokenizer", "RegexTokenizer"})
"""Stages that read columns of text."""
NUMBERS = frozenset({"VectorAssembler", "Bucketizer", "ImputerModel", "OneHotEncoderModel"})
"""Stages that read columns of numbers."""
OPAQUE = frozenset(
    {"RFormulaModel", "SQLTransformer", "FeatureHasher", "CrossValidatorModel", "TrainValidationSplitModel"}
)
"""Stages that do not say in their metadata what they read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as its metadata describes it."""

    kind: str
    """Its class without the package."""
    parameters: dict[str, Any]

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns that some of its parameters name."""
        found: list[str] = []
        for name in names:
            value = self.parameters.get(name)
            found += [value] if isinstance(value, str) else [str(each) for each in value or ()]
        return tuple(found)


def entry_of(files: tuple[str, ...]) -> str | None:
    """The metadata of the outermost saved Spark object among `files`; None where there is none."""
    found = [
        path
        for path in map(PurePosixPath, files)
        if path.name.startswith(PART) and path.parent.name == "metadata"
    ]
    return str(min(found, key=lambda path: (len(path.parts), str(path)))) if found else None


def read(directory: Path, entry: str, files: tuple[str, ...]) -> Detected:
    """Read a PipelineModel's metadata. Raises Damaged for what is cut short, unfitted or not Spark's own."""
    root = PurePosixPath(entry).parent.parent
    top = _metadata(directory, entry)
    name = str(top.get("class"))
    if name != PIPELINE:
        raise Damaged(_no_pipeline(name))
    stages = tuple(_stages(directory, root, top, files))
    last = next((each for each in reversed(stages) if "predictionCol" in each.parameters), None)
    return Detected(
        format=Format.SPARK,
        serialization=Serialization.SPARK_PIPELINE,
        entry=entry,
        framework_version=str(top.get("sparkVersion") or ""),
        algorithm=f"PipelineModel ({last.kind if last else stages[-1].kind})" if stages else "PipelineModel",
        function=_function(last),
        signature=_signature(stages),
        notes=(f"stages {', '.join(each.kind for each in stages)}",),
    )


def statements(directory: Path, entry: str) -> tuple[str, ...]:
    """The SQL that loading and predicting would run. Raises Damaged."""
    root = PurePosixPath(entry).parent.parent
    files = tuple(
        path.relative_to(directory).as_posix()
        for path in sorted(directory.rglob(f"{PART}*"))
        if path.is_file()
    )
    stages = _stages(directory, root, _metadata(directory, entry), files)
    return tuple(
        str(each.parameters.get("statement", "")) for each in stages if each.kind == "SQLTransformer"
    )


def _no_pipeline(name: str) -> str:
    if name.startswith("pyspark."):
        return (
            "some of its stages are written in Python, and only Spark's own are loaded; "
            "leave them out, or publish a model.py that loads the pipeline"
        )
    if name == "org.apache.spark.ml.Pipeline":
        return "it is a Pipeline that was not fitted; save what its `fit` returned"
    return f"it is a {name[:80]}, not a PipelineModel; save `PipelineModel(stages=[model])` instead"


def _metadata(directory: Path, entry: str) -> dict[str, Any]:
    path = directory / entry
    folder = str(PurePosixPath(entry).parent)
    if path.stat().st_size > limits.MAX_SCHEMA:
        raise Damaged(f"{folder} is larger than any metadata")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Damaged(f"{folder} is not whole JSON; save the pipeline again") from None
    if not isinstance(found, dict) or not isinstance(found.get("paramMap"), dict) or "class" not in found:
        raise Damaged(f"{folder} is not metadata of Spark: it has no `class` or no `paramMap`")
    return found


def _stages(
    directory: Path, root: PurePosixPath, top: dict[str, Any], files: tuple[str, ...]
) -> Iterator[Stage]:
    """The stages in order, those of pipelines inside included."""
    names = top["paramMap"].get("stageUids")
    if not isinstance(names, list) or len(names) > limits.MAX_FILES:
        raise Damaged("its metadata has no list of stages")
    digits = len(str(len(names)))
    for index, name in enumerate(names):
        folder = root / "stages" / f"{index:0{digits}d}_{name}"
        part = next((each for each in files if each.startswith(f"{folder}/metadata/{PART}")), None)
        if part is None:
            raise Damaged(f"stage {index} ({str(name)[:60]}) is missing; publish the whole directory")
        described = _metadata(directory, part)
        kind = str(described["class"])
        if not kind.startswith(OWN):
            raise Damaged(
                f"stage {index} is a {kind[:80]}, which is not Spark's own; "
                "leave it out, or publish a model.py that loads the pipeline"
            )
        _whole(directory, folder, files, index)
        if kind == PIPELINE:
            yield from _stages(directory, folder, described, files)
            continue
        defaults = described.get("defaultParamMap")
        parameters = {**(defaults if isinstance(defaults, dict) else {}), **described["paramMap"]}
        yield Stage(kind.rpartition(".")[2], parameters)


def _whole(directory: Path, folder: PurePosixPath, files: tuple[str, ...], index: int) -> None:
    """Raise Damaged when a stage's data was cut short; Parquet files begin and end with the same mark."""
    inside = [each for each in files if each.startswith(f"{folder}/") and each.endswith(".parquet")]
    for name in inside:
        with (directory / name).open("rb") as file:
            head = file.read(4)
            file.seek(max(0, file.seek(0, 2) - 4))
            if head != b"PAR1" or file.read() != b"PAR1":
                raise Damaged(f"{name} (stage {index}) is damaged or cut short; publish the directory again")


def _function(last: Stage | None) -> Function:
    if last is None:
        return Function.UNKNOWN
    if ("probabilityCol" in last.parameters and "Mixture" not in last.kind) or "Classif" in last.kind:
        return Function.CLASSIFICATION
    if last.kind in ("KMeansModel", "BisectingKMeansModel", "GaussianMixtureModel", "LDAModel"):
        return Function.CLUSTERING
    return Function.REGRESSION if "Regression" in last.kind else Function.UNKNOWN


def _signature(stages: tuple[Stage, ...]) -> Signature | None:
    """What the pipeline reads that it does not write itself; None where its metadata does not tell."""
    if any(each.kind in OPAQUE for each in stages):
        return None
    written: set[str] = set()
    kinds: dict[str, TensorSpec] = {}
    for at, stage in enumerate(stages):
        if not _only_for_training(stage, stages[at + 1 :]):
            for name in stage.columns(READ):
                if name in written:
                    continue
                spec = _spec(name, stage)
                if spec is None:
                    return None
                kinds[name] = _wider(kinds.get(name), spec)
        written.update(stage.columns(WRITTEN))
    return Signature(inputs=tuple(kinds.values()))


def _only_for_training(stage: Stage, later: tuple[Stage, ...]) -> bool:
    """Whether a stage only codes the label, which is not there at prediction; Spark then passes it over."""
    if stage.kind != "StringIndexerModel":
        return False
    written = set(stage.columns(WRITTEN))
    labels = {str(each.parameters.get("labelCol")) for each in later}
    return written <= labels and not written & {name for each in later for name in each.columns(READ)}


def _spec(name: str, stage: Stage) -> TensorSpec | None:
    column = TensorSpec(name=name, datatype=Datatype.FP64, shape=(-1,))
    if stage.kind in TEXTS:
        return replace(column, datatype=Datatype.BYTES)
    if stage.kind in NUMBERS or stage.kind == "ALSModel":
        return column
    if "featuresCol" in stage.parameters or stage.kind.endswith(("ScalerModel", "PCAModel", "Normalizer")):
        return replace(column, shape=(-1, -1))
    return None


def _wider(before: TensorSpec | None, now: TensorSpec) -> TensorSpec:
    """A column that is read as numbers and as text is one of numbers, which Spark writes as text itself."""
    if before is None or before.datatype is Datatype.BYTES:
        return now
    return before
