"""Triton's layout: NAME/VERSION/model.* with an optional NAME/config.pbtxt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.domain.model import Datatype, Signature, TensorSpec
from modelyard.formats.bytesview import Damaged
from modelyard.formats.repositories import pbtxt
from modelyard.formats.repositories.candidate import Candidate

CONFIG = "config.pbtxt"
_OURS = {
    "onnxruntime": "model.onnx",
    "pytorch": "model.pt",
    "tensorflow": "model.savedmodel",
}
"""Triton's backends whose files are formats of ours, with the file's usual name."""
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
}
_ELSEWHERE = {
    "python": "write it as a Python model (model.py with `load` and `predict`), without Triton's utilities",
    "ensemble": "deploy its steps as one version with a pipeline",
}


@dataclass(frozen=True, slots=True)
class Config:
    """What config.pbtxt says, as far as it matters here."""

    name: str = ""
    backend: str = ""
    filename: str = ""
    versions: tuple[int, ...] | None = None
    """The versions to serve; None is the `latest` so many."""
    latest: int = 1
    signature: Signature | None = None


def is_model(directory: Path) -> bool:
    """Whether this is one model in Triton's layout."""
    if (directory / CONFIG).is_file():
        return True
    return any(directory / version for version in versions_of(directory))


def versions_of(directory: Path) -> tuple[str, ...]:
    """Names of the version directories, the newest first."""
    found = [path.name for path in directory.iterdir() if path.is_dir() and path.name.isdigit()]
    return tuple(sorted((name for name in found if int(name) > 0), key=int, reverse=True))


def read(directory: Path) -> Iterator[Candidate]:
    """Every version of the model in `directory` that its policy serves."""
    name = directory.name
    try:
        config = _config(directory)
    except (Damaged, OSError) as error:
        yield Candidate(name=name, directory=directory, problem=f"{name}/{CONFIG}: {error}")
        return
    name = config.name or name
    versions = _served(versions_of(directory), config)
    if not versions:
        message = f"{name} has no version to serve: put its files into {directory.name}/1"
        yield Candidate(name=name, directory=directory, problem=message)
    for version in versions:
        yield _candidate(name, version, directory / version, config)


def _candidate(name: str, version: str, directory: Path, config: Config) -> Candidate:
    if config.backend and config.backend not in _OURS:
        remedy = _ELSEWHERE.get(config.backend, "export the model as ONNX")
        problem = f"{name} needs Triton's backend `{config.backend}`, which is not here: {remedy}"
        return Candidate(name=name, version=version, directory=directory, problem=problem)
    usual = config.filename or _OURS.get(config.backend, "")
    path = directory / usual
    folder, entry = (path, "") if usual and path.is_dir() else (directory, usual if path.is_file() else "")
    return Candidate(name=name, version=version, directory=folder, entry=entry, signature=config.signature)


def _served(versions: Sequence[str], config: Config) -> Sequence[str]:
    if config.versions is None:
        return versions[: config.latest]
    return [version for version in versions if int(version) in config.versions]


def _config(directory: Path) -> Config:
    path = directory / CONFIG
    if not path.is_file():
        return Config()
    message = pbtxt.parse(path.read_text("utf-8", errors="replace"))
    batched = _number(message, "max_batch_size", 0) > 0
    backend = _text(message, "backend")
    if not backend:
        platform = _text(message, "platform")
        backend = _PLATFORMS.get(platform, platform)
    policies = [each for each in message.get("version_policy", []) if isinstance(each, dict)]
    versions, latest = _policy(policies[0] if policies else {}, directory)
    inputs = _tensors(message.get("input", []), "input", batched=batched)
    outputs = _tensors(message.get("output", []), "output", batched=batched)
    return Config(
        name=_text(message, "name"),
        backend=backend,
        filename=_text(message, "default_model_filename"),
        versions=versions,
        latest=latest,
        signature=Signature(inputs=inputs, outputs=outputs) if inputs else None,
    )


def _policy(policy: pbtxt.Message, directory: Path) -> tuple[tuple[int, ...] | None, int]:
    match next(iter(policy.items()), ("latest", [{}])):
        case ("all", _):
            return tuple(int(version) for version in versions_of(directory)), 1
        case ("specific", [dict() as chosen, *_]):
            return tuple(_whole(each, "version_policy") for each in chosen.get("versions", [])), 1
        case ("latest", [dict() as chosen, *_]):
            return None, max(1, _number(chosen, "num_versions", 1))
        case (other, _):
            raise Damaged(f"version_policy: {other} is not known; use all, latest or specific")


def _tensors(messages: Sequence[Any], path: str, *, batched: bool) -> tuple[TensorSpec, ...]:
    return tuple(
        _tensor(message, f"{path}[{index}]", batched=batched) for index, message in enumerate(messages)
    )


def _tensor(message: Any, path: str, *, batched: bool) -> TensorSpec:
    if not isinstance(message, dict) or not _text(message, "name"):
        raise Damaged(f"{path}: a name is missing")
    kind = _text(message, "data_type").removeprefix("TYPE_")
    kind = {"STRING": "BYTES"}.get(kind, kind)
    if kind not in set(Datatype):
        raise Damaged(f"{path}.data_type: TYPE_{kind} is not known; known are {', '.join(Datatype)}")
    dims = tuple(_whole(size, f"{path}.dims") for size in message.get("dims", []))
    shape = (-1, *dims) if batched else dims
    return TensorSpec(name=_text(message, "name"), datatype=Datatype(kind), shape=shape)


def _text(message: pbtxt.Message, name: str) -> str:
    values = message.get(name, [""])
    return values[-1] if isinstance(values[-1], str) else ""


def _number(message: pbtxt.Message, name: str, default: int) -> int:
    return _whole(message[name][-1], name) if message.get(name) else default


def _whole(text: Any, path: str) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise Damaged(f"{path}: a whole number was expected, found {str(text)[:40]!r}") from None
