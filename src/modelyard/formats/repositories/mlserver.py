"""MLServer's layout: model-settings.json beside or above the model's file."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.domain.model import Datatype, Format, Signature, TensorSpec
from modelyard.formats.repositories.candidate import Candidate

SETTINGS = "model-settings.json"
MAX_BYTES = 1 << 20
_RUNTIMES = {
    "mlserver_sklearn": "sklearn",
    "mlserver_xgboost": "xgboost",
    "mlserver_lightgbm": "lightgbm",
    "mlserver_catboost": "catboost",
    "mlserver_mlflow": "mlflow",
    "mlserver_huggingface": "huggingface",
}
"""Package of an implementation to the format that it is."""


def is_model(directory: Path) -> bool:
    """Whether this is one model in MLServer's layout."""
    return (directory / SETTINGS).is_file()


def read(directory: Path) -> Candidate:
    """The model that the settings in `directory` describe."""
    path = directory / SETTINGS
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        settings = json.loads(path.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError("it must be an object")
    except (OSError, ValueError, RecursionError) as error:
        return Candidate(
            name=directory.name, directory=directory, problem=f"{directory.name}/{SETTINGS}: {error}"
        )
    return _candidate(directory, settings)


def _candidate(directory: Path, settings: dict[str, Any]) -> Candidate:
    name = str(settings.get("name") or directory.name)
    parameters = settings.get("parameters") if isinstance(settings.get("parameters"), dict) else {}
    assert isinstance(parameters, dict)  # noqa: S101 - decided above, for the type checker
    version = str(parameters.get("version") or "")
    implementation = str(settings.get("implementation") or "")
    package = implementation.partition(".")[0]
    known = {member.value: member for member in Format}
    problem = ""
    if package not in _RUNTIMES:
        problem = (
            f"{name} is served by {implementation or 'something that is not named'}, which is not here: "
            "write it as a Python model (model.py with `load` and `predict`)"
        )
    elif _RUNTIMES[package] not in known:
        problem = f"{name} is a {_RUNTIMES[package]} model, which is no format of this installation"
    try:
        folder, entry = _place(directory, str(parameters.get("uri") or ""))
        signature = _signature(settings)
    except ValueError as error:
        problem = f"{name}: {error}"
        folder, entry, signature = directory, "", None
    format_ = known.get(_RUNTIMES.get(package, ""))
    return Candidate(
        name=name, version=version, directory=folder, entry=entry, format=format_, signature=signature,
        problem=problem,
    )  # fmt: skip


def _place(directory: Path, uri: str) -> tuple[Path, str]:
    """The folder, and the file in it; raises ValueError for one that is elsewhere."""
    if not uri:
        return directory, ""
    if "://" in uri:
        raise ValueError(f"parameters.uri: {uri[:80]} is not on this machine; fetch it and name the file")
    path = (directory / PurePosixPath(uri)).resolve()
    if not path.exists():
        raise ValueError(f"parameters.uri: there is nothing at {uri[:80]}")
    return (path, "") if path.is_dir() else (path.parent, path.name)


def _signature(settings: dict[str, Any]) -> Signature | None:
    inputs = tuple(_tensor(each, f"inputs[{i}]") for i, each in enumerate(settings.get("inputs") or []))
    outputs = tuple(_tensor(each, f"outputs[{i}]") for i, each in enumerate(settings.get("outputs") or []))
    return Signature(inputs=inputs, outputs=outputs) if inputs else None


def _tensor(document: Any, path: str) -> TensorSpec:
    try:
        return TensorSpec(
            name=str(document["name"]),
            datatype=Datatype(document["datatype"]),
            shape=tuple(int(size) for size in document["shape"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected name, datatype and shape ({error})") from None
