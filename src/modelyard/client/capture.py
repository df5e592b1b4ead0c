"""From a fitted object to files, and what can be read off it: format, requirements, sample."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.client import networks, spark
from modelyard.client.later import Later
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Datatype, Requirements, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

_CAPTURED = (
    "scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "catboost", "pyspark", "onnxruntime",
    "skops", "joblib", "numpy", "scipy", "pandas",
)  # fmt: skip
_DATATYPES = {
    "b1": Datatype.BOOL, "u1": Datatype.UINT8, "u2": Datatype.UINT16, "u4": Datatype.UINT32,
    "u8": Datatype.UINT64, "i1": Datatype.INT8, "i2": Datatype.INT16, "i4": Datatype.INT32,
    "i8": Datatype.INT64, "f2": Datatype.FP16, "f4": Datatype.FP32, "f8": Datatype.FP64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Captured:
    """Files to upload, as path in the upload to path on disk, and what belongs to them."""

    files: Mapping[str, Path]
    requirements: Requirements = field(default_factory=Requirements)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    sample: dict[str, list[Any]] | None = None
    """One example row under the model's own input names, when those are known."""


def capture(model: Any, directory: Path, *, example: Any = None) -> Captured:
    """Write a fitted object, a class, a path, or a dict of such to files below `directory`.

    `example` holds rows that a PyTorch module is exported with. Raises Invalid when the object is of a kind
    that has no file format here.
    """
    if isinstance(model, dict):
        return _several(model, directory)
    if isinstance(model, str | Path):
        return Captured(files_of(Path(model)))
    network = networks.write(model, directory, example)
    if network is not None:
        found = requirements()
        needs = Requirements(python=found.python, packages=(*network.packages, *found.packages))
        return Captured({network.path.name: network.path}, needs, sample=network.sample)
    return Captured(files_of(_write(model, directory)), requirements())


def files_of(path: Path) -> dict[str, Path]:
    """Every file of a file or directory, by its path in the upload."""
    if not path.exists():
        message = f"{path} does not exist; give the path of a model file or directory"
        raise Invalid(message, errors=[FieldError("path", message)])
    if path.is_file():
        return {path.name: path}
    return {
        each.relative_to(path).as_posix(): each
        for each in sorted(path.rglob("*"))
        if each.is_file() and "__pycache__" not in each.parts
    }


def requirements() -> Requirements:
    """The interpreter and those packages of it that decide whether a model loads elsewhere."""
    return Requirements(python=platform.python_version(), packages=tuple(_installed()))


def sample_of(x_test: Any) -> tuple[dict[str, list[Any]] | None, Signature | None]:
    """The first row of test data as a sample; a table of mixed types also says its columns' types."""
    if x_test is None:
        return None, None
    if _is_frame(x_test):
        return _frame_sample(x_test)
    if spark.is_frame(x_test):
        return spark.sample_of(x_test)
    rows = np.asarray(x_test)
    return {"input": rows[:1].tolist()}, None


def targets_of(y_test: Any) -> tuple[TensorSpec, ...]:
    """What the targets are, from test data."""
    if y_test is None:
        return ()
    values = np.asarray(y_test)
    name = str(getattr(y_test, "name", None) or ("y" if values.ndim == 1 else "targets"))
    return (TensorSpec(name=name, datatype=_datatype(values.dtype), shape=(-1, *values.shape[1:])),)


def _several(models: Mapping[str, Any], directory: Path) -> Captured:
    files: dict[str, Path] = {}
    for name, model in models.items():
        folder = directory / name
        folder.mkdir(parents=True)
        files |= {f"{name}/{path}": file for path, file in capture(model, folder).files.items()}
    return Captured(files, requirements(), {name: name for name in models})


def _write(model: Any, directory: Path) -> Path:
    modules = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    if isinstance(model, type):
        return _write_source(model, directory)
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        path = directory / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path
    if "catboost" in modules:
        return _write_catboost(model, directory)
    if "pyspark" in modules:
        return spark.write(model, directory)
    if "sklearn" in modules or hasattr(model, "get_params"):
        path = directory / "model.joblib"
        importlib.import_module("joblib").dump(model, path)
        return path
    if "xgboost" in modules:
        path = directory / "model.ubj"
        model.save_model(str(path))
        return path
    if "lightgbm" in modules:
        path = directory / "model.txt"
        model.save_model(str(path))
        return path
    raise Invalid(
        f"an object of {type(model).__module__}.{type(model).__qualname__} has no model format; "
        "publish a fitted scikit-learn, XGBoost, LightGBM, CatBoost or Spark model, an ONNX model, "
        "a PyTorch or Keras model, "
        "a class with `predict`, or a path",
        errors=[FieldError("model", "not a known kind of model")],
    )


def _write_catboost(model: Any, directory: Path) -> Path:
    if not model.is_fitted():
        message = f"the {type(model).__name__} is not fitted; call fit before publishing it"
        raise Invalid(message, errors=[FieldError("model", message)])
    path = directory / "model.cbm"
    model.save_model(str(path))
    return path


def _write_source(model: type, directory: Path) -> Path:
    if not callable(getattr(model, "predict", None)):
        message = f"class {model.__name__} has no `predict(self, inputs)`; add it"
        raise Invalid(message, errors=[FieldError("model", message)])
    try:
        file = inspect.getsourcefile(model)
        whole = file and model.__module__ != "__main__"
        source = Path(file).read_text() if file and whole else inspect.getsource(model)
    except (OSError, TypeError) as error:
        message = f"the source of class {model.__name__} cannot be read ({error}); publish its file instead"
        raise Invalid(message, errors=[FieldError("model", message)]) from None
    alias = "" if model.__name__ == "Model" else f"\n\nclass Model({model.__name__}):\n    pass\n"
    path = directory / "model.py"
    path.write_text(source + alias)
    return path


def _installed() -> Iterator[str]:
    for name in _CAPTURED:
        try:
            yield f"{name}=={importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _frame_sample(frame: Any) -> tuple[dict[str, list[Any]], Signature | None]:
    kinds = {_datatype(dtype) for dtype in frame.dtypes}
    if Datatype.BYTES not in kinds and len(kinds) == 1:
        return {"input": frame.iloc[:1].to_numpy().tolist()}, None
    columns = tuple(
        TensorSpec(name=str(name), datatype=_datatype(dtype), shape=(-1,))
        for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
    )
    sample = {str(name): frame[name].iloc[:1].tolist() for name in frame.columns}
    return sample, Signature(inputs=columns, sample=sample)


def _datatype(dtype: Any) -> Datatype:
    return _DATATYPES.get(f"{getattr(dtype, 'kind', 'O')}{getattr(dtype, 'itemsize', 0)}", Datatype.BYTES)
