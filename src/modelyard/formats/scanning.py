"""Decide whether a model may be loaded, from what loading it would import."""

from __future__ import annotations

import re
from pathlib import Path

from modelyard.domain.errors import Refused
from modelyard.domain.model import Format, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import (
    keras,
    kinds,
    mlflow,
    pickled,
    python_source,
    savedmodel,
    skops,
    spark,
    torch,
    torch_archive,
)
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.kinds import Kind
from modelyard.formats.pickles.allowed import refused
from modelyard.formats.pickles.reading import Reading
from modelyard.formats.pickles.values import Global

PICKLES = (Serialization.PICKLE, Serialization.JOBLIB)
MAX_NAMED = 20
_RUNS = "which runs in the model's process, without the platform's secrets"
_PICKLED = {Kind.PICKLE: Serialization.PICKLE, Kind.SKOPS: Serialization.SKOPS}
_INERT = frozenset({Kind.XGBOOST_JSON, Kind.XGBOOST_UBJ, Kind.LIGHTGBM_TEXT, Kind.ONNX, Kind.SAFETENSORS})
_DOCUMENTS = frozenset({".json", ".yaml", ".yml", ".txt", ".md", ".csv"})
"""What stands beside a model; a loader that unpickles is given another file, by name."""
SQL_CALLS = re.compile(r"\b(?:reflect|try_reflect|java_method)\s*\(", re.IGNORECASE)
"""Functions of Spark's SQL that call any static method of Java."""
REMEDY = (
    "save it as skops or ONNX, publish it as a Python model whose code brings them (with MLflow: "
    "python_model='model.py'), "
    "or let an owner set the project's trust to `full`"
)

_ELSE = "or let an owner set the project's trust to `full`"
REMEDIES = {
    Format.TORCH: (
        "save the weights with torch.save(model.state_dict(), path) and publish them with a model.py, "
        f"or export the model to ONNX, {_ELSE}"
    ),
    Format.KERAS: (
        "replace such layers by Keras's own, publish a model.py that defines them and loads this file, "
        f"or export the model to ONNX, {_ELSE}"
    ),
    Format.TENSORFLOW: f"take these operations out of the served function, {_ELSE}",
}
WITH_SOURCE = (Serialization.TORCH_WEIGHTS, Serialization.SAFETENSORS)


def scan(directory: Path, detected: Detected, *, trust: Trust) -> tuple[str, ...]:
    """Return notes about a model that may be loaded under `trust`; nothing of it is executed.

    Raises Refused, with `UnsafeContent` in the text and everything that is not on the allow-list named, when
    it may
    not. Blocking: call it in a thread.
    """
    entry = detected.entry
    if detected.format is Format.PYTHON:
        return _source_code(entry, trust)
    if detected.format is Format.SPARK:
        return _sql(directory, entry, trust)
    notes: tuple[str, ...] = ()
    if detected.serialization in WITH_SOURCE:
        notes = _source_code(torch.SOURCE, trust)
    try:
        if detected.format is Format.MLFLOW:
            unsafe = _package(directory, entry, trust)
        else:
            unsafe = _unsafe(directory / entry, detected.serialization, trust)
    except Damaged as error:
        raise Refused(f"{entry}: {error}") from None
    if not unsafe:
        return (*notes, *_harmless(directory, detected, trust))
    shown = "; ".join(unsafe[:MAX_NAMED]) + ("; …" if len(unsafe) > MAX_NAMED else "")
    if trust is Trust.FULL:
        return (
            *notes,
            f"{entry} was admitted because the project trusts models fully; loading it runs {shown}",
        )
    raise Refused(
        f"UnsafeContent: loading {entry} would import or run what is not known to be safe: {shown}; "
        f"{REMEDIES.get(detected.format, REMEDY)}"
    )


def _source_code(entry: str, trust: Trust) -> tuple[str, ...]:
    if trust is Trust.NEVER:
        raise Refused(
            f"UnsafeContent: {entry} is Python code, and the project's trust is `never`; "
            "publish the model as ONNX or skops, or let an owner set the project's trust to `scan`"
        )
    return (f"{entry} is Python code, {_RUNS}",)


def _sql(directory: Path, entry: str, trust: Trust) -> tuple[str, ...]:
    """What the SQL inside a Spark pipeline may do; raises Refused where the project does not trust that."""
    try:
        statements = spark.statements(directory, entry)
    except Damaged as error:
        raise Refused(f"{entry}: {error}") from None
    for text in statements:
        calls = SQL_CALLS.search(text)
        if trust is not Trust.FULL and (calls or trust is Trust.NEVER):
            why = "calls Java methods" if calls else "is code, and the project's trust is `never`"
            raise Refused(
                f"UnsafeContent: the SQL of a stage {why}: {text[:200]}; take the SQLTransformer out of the "
                "pipeline, or let an owner raise the project's trust"
            )
    return tuple(f"predicting runs SQL: {text[:200]}" for text in statements)


def _unsafe(path: Path, serialization: Serialization, trust: Trust) -> tuple[str, ...]:
    match serialization:
        case Serialization.PICKLE | Serialization.JOBLIB:
            if trust is Trust.NEVER:
                raise Refused(
                    f"UnsafeContent: {path.name} is a pickle, and the project's trust is `never`; "
                    "save the model as skops, ONNX or the library's own format, "
                    "or let an owner set the project's trust to `scan`"
                )
            return unsafe_in(pickled.follow(path))
        case Serialization.SKOPS:
            schema = skops.read(path)
            kinds = tuple(f"a node of kind {kind}" for kind in schema.loaders)
            return (*refused(schema.imports), *kinds)
        case Serialization.TORCH_EXPORT | Serialization.TORCH_WEIGHTS | Serialization.TORCHSCRIPT:
            if trust is Trust.NEVER and serialization is Serialization.TORCH_EXPORT:
                raise Refused(
                    f"UnsafeContent: loading {path.name} unpickles parts of it, and the project's trust is "
                    "`never`; export the model to ONNX, or let an owner set the project's trust to `scan`"
                )
            return torch_archive.unsafe(path)
        case Serialization.KERAS | Serialization.KERAS_H5:
            return keras.unsafe(path, serialization)
        case Serialization.SAVED_MODEL:
            return savedmodel.unsafe(path)
        case _:
            return ()


def _package(directory: Path, entry: str, trust: Trust) -> tuple[str, ...]:
    """Name what loading an MLflow package could run that is not known: every file of it may be loaded."""
    if trust is Trust.NEVER:
        raise Refused(
            f"UnsafeContent: {entry} is loaded by mlflow.pyfunc, which may run code of the package, and the "
            "project's trust is `never`; publish a flavor sklearn (as skops), xgboost, lightgbm or onnx, or "
            "let an owner set the project's trust to `scan`"
        )
    loaded = mlflow.loaded_files(directory, entry)
    found: list[str] = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not path.is_symlink():
            found += _in_package(path, name, loaded=name in loaded)
    return tuple(found)


def _in_package(path: Path, name: str, *, loaded: bool) -> list[str]:
    if path.suffix == ".py":
        python_source.parse(path, name)
        return []
    kind = kinds.of_file(path)
    if kind in _PICKLED:
        return [f"{each} in {name}" for each in _unsafe(path, _PICKLED[kind], Trust.SCAN)]
    if kind in _INERT or not loaded:
        return []
    return [f"{name} ({kind.value if kind else 'of no known kind'}, whose contents are not looked into)"]


def unsafe_in(found: Reading) -> tuple[str, ...]:
    """Name everything in a followed pickle that the allow-list does not know, users' own functions first."""
    imports = refused(found.imports)
    return (*(_explained(name, found) for name in imports), *found.findings)


def _explained(name: str, found: Reading) -> str:
    own = name.startswith("__main__.")
    transformer = any(item == Global(item.module, "FunctionTransformer") for item in found.imports)
    if own and transformer:
        return f"{name} (your own function, in a FunctionTransformer)"
    return f"{name} (defined in the script that wrote the file)" if own else name


def _harmless(directory: Path, detected: Detected, trust: Trust) -> tuple[str, ...]:
    if detected.format is Format.MLFLOW and any(directory.rglob("*.py")):
        return (f"{detected.entry} comes with Python code, {_RUNS}",)
    if detected.serialization in PICKLES and trust is Trust.FULL:
        return (f"{detected.entry} is a pickle; everything it imports is on the allow-list",)
    return detected.warnings
