"""Fitted models of Spark as files, and the first row of its DataFrames as a sample."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Datatype, Signature, TensorSpec

_DATATYPES = {
    "double": Datatype.FP64, "float": Datatype.FP32, "bigint": Datatype.INT64, "int": Datatype.INT32,
    "smallint": Datatype.INT16, "tinyint": Datatype.INT8, "boolean": Datatype.BOOL, "string": Datatype.BYTES,
}  # fmt: skip


def write(model: Any, directory: Path) -> Path:
    """Save a fitted pipeline, or a fitted model as a pipeline of one, below `directory`.

    Raises Invalid when it is not fitted, or when its cluster wrote the files on other machines.
    """
    ml = importlib.import_module("pyspark.ml")
    if not isinstance(model, ml.Model):
        raise _invalid(f"the {type(model).__name__} is not fitted; publish what its `fit` returned")
    pipeline = model if isinstance(model, ml.PipelineModel) else ml.PipelineModel(stages=[model])
    path = directory / "pipeline"
    pipeline.write().overwrite().save(path.absolute().as_uri())
    if not any(path.glob("metadata/part-*")):
        raise _invalid(
            "Spark wrote the model on its cluster's machines; save it to a place that this machine sees, "
            "and publish that path"
        )
    return path


def is_frame(value: Any) -> bool:
    """Whether something is a DataFrame of Spark."""
    kinds = {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(value).__mro__}
    return "pyspark.DataFrame" in kinds


def sample_of(frame: Any) -> tuple[dict[str, list[Any]] | None, Signature | None]:
    """The first row, and the types of the columns; vectors are rows of a table. Raises Invalid for others."""
    columns = tuple(_spec(name, kind) for name, kind in frame.dtypes)
    first = frame.limit(1).collect()
    if not first:
        return None, Signature(inputs=columns)
    sample = {name: [_plain(value)] for name, value in first[0].asDict().items()}
    return sample, Signature(inputs=columns, sample=sample)


def _spec(name: str, kind: str) -> TensorSpec:
    if kind == "vector":
        return TensorSpec(name=name, datatype=Datatype.FP64, shape=(-1, -1))
    if kind not in _DATATYPES:
        raise _invalid(f"x_test: column {name} is of type {kind}; select only columns that the model reads")
    return TensorSpec(name=name, datatype=_DATATYPES[kind], shape=(-1,))


def _plain(value: Any) -> Any:
    return value.toArray().tolist() if hasattr(value, "toArray") else value


def _invalid(message: str) -> Invalid:
    return Invalid(message, errors=[FieldError("model", message)])
