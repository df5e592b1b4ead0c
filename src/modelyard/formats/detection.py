"""Find out what a directory holds, from the files' names and bytes alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Format
from modelyard.formats import (
    catboost,
    huggingface,
    keras,
    kinds,
    lightgbm,
    limits,
    mlflow,
    onnx,
    pickled,
    pmml,
    python_source,
    savedmodel,
    spark,
    torch,
    xgboost,
)
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.kinds import Kind

EXPECTED = (
    "a scikit-learn, XGBoost or LightGBM estimator (.joblib, .pkl, .skops), an XGBoost model (.json, .ubj), "
    "a LightGBM model (.txt), a CatBoost model (.cbm, .json), an ONNX model (.onnx), PMML (.pmml), "
    "a Spark PipelineModel (its directory), a PyTorch model (.pt, .pt2, or weights with model.py), "
    "a Keras model (.keras, .h5), a TensorFlow SavedModel (saved_model.pb), a Python model (model.py), "
    "an MLflow directory (MLmodel) or a Hugging Face directory (config.json, tokenizer.json and weights)"
)
SERVES: dict[Format, frozenset[Kind]] = {
    Format.SKLEARN: frozenset({Kind.PICKLE, Kind.SKOPS, Kind.MLFLOW}),
    Format.XGBOOST: frozenset({Kind.PICKLE, Kind.SKOPS, Kind.XGBOOST_JSON, Kind.XGBOOST_UBJ, Kind.MLFLOW}),
    Format.LIGHTGBM: frozenset({Kind.PICKLE, Kind.SKOPS, Kind.LIGHTGBM_TEXT, Kind.MLFLOW}),
    Format.CATBOOST: frozenset({Kind.CATBOOST_BINARY, Kind.CATBOOST_JSON}),
    Format.ONNX: frozenset({Kind.ONNX, Kind.MLFLOW}),
    Format.TORCH: frozenset({Kind.TORCH, Kind.SAFETENSORS}),
    Format.KERAS: frozenset({Kind.KERAS, Kind.KERAS_H5}),
    Format.TENSORFLOW: frozenset({Kind.SAVED_MODEL}),
    Format.PMML: frozenset({Kind.PMML}),
    Format.SPARK: frozenset({Kind.SPARK}),
    Format.PYTHON: frozenset({Kind.PYTHON}),
    Format.MLFLOW: frozenset({Kind.MLFLOW}),
    Format.HUGGINGFACE: frozenset({Kind.HUGGINGFACE}),
}
"""Which kinds of file a format may be in."""


def detect(directory: Path, *, hint: Format | None = None, entry: str = "") -> Detected:
    """Say what model `directory` holds; nothing of it is executed or imported.

    `hint` is what the publisher says it is; `entry` names the one file of it that counts, when others are not
    the model's. Raises Invalid when nothing or several models are found or the hint does not fit, Refused
    when the model is truncated, damaged or not one that can be served. Blocking: call it in a thread.
    """
    files = (entry,) if entry else _files(directory)
    kind, entry = _choose(directory, files, hint)
    try:
        detected = _READERS[kind](directory, entry, files, hint)
    except Damaged as error:
        raise Refused(f"{entry}: {error}") from None
    except OSError as error:
        raise Invalid(f"{entry} cannot be read: {error.strerror}") from None
    if hint is not None and detected.format is not hint:
        raise Invalid(
            f"{entry} is a {detected.format.value} model ({detected.algorithm}), and format says "
            f"{hint.value}; "
            "leave format out, or publish the other file"
        )
    return detected


def _files(directory: Path) -> tuple[str, ...]:
    found: list[str] = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if any(part.startswith((".", "__")) and part != "__init__.py" for part in PurePosixPath(name).parts):
            continue
        if path.is_file() and not path.is_symlink():
            found.append(name)
        if len(found) > limits.MAX_FILES:
            raise Invalid(
                f"the directory has more than {limits.MAX_FILES} files; publish only what the model needs"
            )
    if not found:
        raise Invalid("there is no file in it; publish a model file or a directory that holds one")
    return tuple(found)


def _choose(directory: Path, files: tuple[str, ...], hint: Format | None) -> tuple[Kind, str]:
    packaged = _packaged(files)
    if packaged is not None and (hint is None or packaged[0] in SERVES.get(hint, ())):
        return packaged
    laid_out = _laid_out(directory, files, hint)
    if laid_out is not None:
        return laid_out
    wanted = SERVES.get(hint, frozenset()) if hint else frozenset(Kind)
    known = {name: kinds.of_file(directory / name) for name in files}
    found = {
        name: kind for name, kind in known.items() if kind is not None and kind in wanted & _READERS.keys()
    }
    named = {name: kind for name, kind in found.items() if kinds.by_name(name) is not None}
    found = named or found
    if len(found) == 1:
        name, kind = next(iter(found.items()))
        return kind, name
    if found:
        raise Invalid(
            f"several models are in it: {', '.join(sorted(found)[:8])}; "
            "publish one of them, or name each in `artifacts` with a folder of its own"
        )
    raise _nothing(files, known, hint)


def _packaged(files: tuple[str, ...]) -> tuple[Kind, str] | None:
    """The directory formats, which bring files of other kinds along."""
    markers = [name for name in files if PurePosixPath(name).name == mlflow.MARKER]
    if len(markers) == 1 or mlflow.MARKER in markers:
        return Kind.MLFLOW, mlflow.MARKER if mlflow.MARKER in markers else markers[0]
    home = huggingface.home_of(files)
    return None if home is None else (Kind.HUGGINGFACE, (home / huggingface.CONFIG).as_posix())


def _laid_out(directory: Path, files: tuple[str, ...], hint: Format | None) -> tuple[Kind, str] | None:
    """What is known by how the files lie: weights beside their source, source, a Spark pipeline."""
    weights = _weights_of(directory, files) if hint in (None, Format.TORCH) else None
    if weights is not None:
        return weights
    source = _source_entry(files)
    if source is not None and hint in (None, Format.PYTHON):
        return Kind.PYTHON, source
    pipeline = spark.entry_of(files)
    if pipeline is not None and hint in (None, Format.SPARK):
        return Kind.SPARK, pipeline
    return None


def _source_entry(files: tuple[str, ...]) -> str | None:
    if "model.py" in files:
        return "model.py"
    nested = [name for name in files if PurePosixPath(name).name == "model.py"]
    if len(nested) == 1:
        return nested[0]
    sources = [name for name in files if name.endswith(".py")]
    return sources[0] if len(sources) == 1 and len(files) == 1 else None


def _weights_of(directory: Path, files: tuple[str, ...]) -> tuple[Kind, str] | None:
    """The one file of weights beside a model.py that defines the module they are for."""
    of_torch = SERVES[Format.TORCH]
    found = [(kind, name) for name in files if (kind := kinds.by_name(name)) in of_torch and kind is not None]
    if len(found) != 1:
        return None
    source = PurePosixPath(found[0][1]).with_name(torch.SOURCE).as_posix()
    return found[0] if source in files and torch.is_module(directory / source, source) else None


def _nothing(files: tuple[str, ...], known: dict[str, Kind | None], hint: Format | None) -> Invalid | Refused:
    for name, kind in known.items():
        if kind is not None and kind not in _READERS:
            return Refused(f"{name}: {kinds.REMEDIES[kind]}")
    shown = ", ".join(files[:8]) + (", …" if len(files) > 8 else "")
    if hint is not None:
        seen = sorted({kind.value for kind in known.values() if kind is not None})
        what = f" it looks like {', '.join(seen)};" if seen else ""
        return Invalid(
            f"not a {hint.value} model: found {shown};{what} leave format out, or publish the right file"
        )
    return Refused(f"not a model I know: found {shown}; expected {EXPECTED}")


def _python(directory: Path, entry: str, files: tuple[str, ...], _: Format | None) -> Detected:
    return python_source.read(directory, entry, tuple(name for name in files if name.endswith(".py")))


def _mlflow(directory: Path, entry: str, files: tuple[str, ...], hint: Format | None) -> Detected:
    def inner(name: str) -> Detected:
        kind = kinds.of_file(directory / name)
        if kind is None or kind not in _READERS:
            remedy = kinds.REMEDIES[kind] if kind else "it is no model that is known here"
            raise Damaged(f"`{name}`: {remedy}")
        return _READERS[kind](directory, name, files, None)

    return mlflow.read(directory, entry, files, hint, inner)


def _safetensors(directory: Path, entry: str, files: tuple[str, ...], _: Format | None) -> Detected:
    beside = PurePosixPath(entry).parent
    if f"{beside / huggingface.CONFIG}" in files and f"{beside / torch.SOURCE}" not in files:
        raise Damaged(
            f"its {huggingface.TOKENIZER} is missing; publish the whole Hugging Face directory, with "
            f"{huggingface.CONFIG} and the file that tokenizer.save_pretrained writes"
        )
    return torch.read_safetensors(directory, entry)


_Reader = Callable[[Path, str, tuple[str, ...], Format | None], Detected]
_READERS: dict[Kind, _Reader] = {
    Kind.PICKLE: lambda directory, entry, _, hint: pickled.read_pickle(directory / entry, entry, hint=hint),
    Kind.SKOPS: lambda directory, entry, _, __: pickled.read_skops(directory / entry, entry),
    Kind.XGBOOST_JSON: lambda directory, entry, _, __: xgboost.read_json(directory / entry, entry),
    Kind.XGBOOST_UBJ: lambda directory, entry, _, __: xgboost.read_ubj(directory / entry, entry),
    Kind.LIGHTGBM_TEXT: lambda directory, entry, _, __: lightgbm.read(directory / entry, entry),
    Kind.CATBOOST_BINARY: lambda directory, entry, _, __: catboost.read_binary(directory / entry, entry),
    Kind.CATBOOST_JSON: lambda directory, entry, _, __: catboost.read_json(directory / entry, entry),
    Kind.ONNX: lambda directory, entry, _, __: onnx.read(directory, entry),
    Kind.TORCH: lambda directory, entry, _, __: torch.read(directory, entry),
    Kind.SAFETENSORS: _safetensors,
    Kind.KERAS: lambda directory, entry, _, __: keras.read(directory / entry, entry),
    Kind.KERAS_H5: lambda directory, entry, _, __: keras.read_h5(directory / entry, entry),
    Kind.SAVED_MODEL: lambda directory, entry, _, __: savedmodel.read(directory, entry),
    Kind.PMML: lambda directory, entry, _, __: pmml.read(directory / entry, entry),
    Kind.SPARK: lambda directory, entry, files, _: spark.read(directory, entry, files),
    Kind.PYTHON: _python,
    Kind.MLFLOW: _mlflow,
    Kind.HUGGINGFACE: lambda directory, entry, files, _: huggingface.read(directory, entry, files),
}
