"""MLflow model directories: the file MLmodel, read without MLflow and without running anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from modelyard.domain.model import Format, Requirements, Serialization, Signature
from modelyard.formats import limits, mlflow_signature
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

MARKER = "MLmodel"
PLAIN = {"sklearn": "pickled_model", "xgboost": "data", "lightgbm": "data", "onnx": "data"}
"""Flavors that need no MLflow to be loaded, to the key that names their file."""
MAX_REQUIREMENTS = 1000
BESIDE = frozenset({"code", "env", "config", "model_code_path"})
"""Keys of a flavor that name no file of the model itself."""
PACKAGING = frozenset({"mlflow", "mlflow-skinny", "cloudpickle"})
"""What MLflow records for itself and a plain flavor does not need."""


@dataclass(frozen=True, slots=True)
class _Package:
    directory: Path
    folder: PurePosixPath
    """Of MLmodel, relative to the directory."""
    files: frozenset[str]
    document: dict[str, Any]
    flavors: dict[str, Any]

    def name(self, inside: str) -> str:
        """The path of a file of the package, relative to the directory."""
        return (self.folder / inside).as_posix()


def read(
    directory: Path,
    entry: str,
    files: tuple[str, ...],
    hint: Format | None,
    inner: Callable[[str], Detected],
) -> Detected:
    """Read the package that `entry`, its MLmodel, describes.

    A plain flavor becomes a model of its own library, which `inner` reads; anything else, or a hint that says
    so, is loaded through `mlflow.pyfunc`. Raises Damaged.
    """
    package = _opened(directory, entry, files)
    declared = mlflow_signature.read(package.document, directory / package.folder)
    flavor, path = _plain(package)
    if flavor and hint is not Format.MLFLOW and not declared.params:
        found = _with(package, inner(path), plain=True)
        return replace(found, declared=_fitting(found, declared.signature))
    function = package.flavors.get("python_function")
    if not isinstance(function, dict):
        names = ", ".join(sorted(package.flavors))[:200]
        raise Damaged(
            f"it has no flavor python_function, only {names}; log it with one, or export it to ONNX"
        )
    found = Detected(
        format=Format.MLFLOW,
        serialization=Serialization.MLFLOW,
        entry=entry,
        framework_version=_word(package.document.get("mlflow_version")),
        algorithm=_word(function.get("loader_module")) or "python_function",
        declared=declared.signature,
    )
    return _with(package, found, plain=False)


def loaded_files(directory: Path, entry: str) -> frozenset[str]:
    """The files that a package's flavors name or whose folder they name: those that MLflow's loaders open.

    Not its code, nor what code of its own may open. Raises Damaged.
    """
    files = tuple(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    package = _opened(directory, entry, files)
    named = {
        package.name(_word(value))
        for flavor in package.flavors.values()
        if isinstance(flavor, dict)
        for key, value in flavor.items()
        if key not in BESIDE and _word(value)
    }
    return frozenset(
        name
        for name in files
        if name in named or any(str(folder) in named for folder in PurePosixPath(name).parents)
    )


def _opened(directory: Path, entry: str, files: tuple[str, ...]) -> _Package:
    path = directory / entry
    if path.stat().st_size > limits.MIB:
        raise Damaged(f"it is larger than {limits.MIB} bytes")
    try:
        document = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise Damaged(f"it is not YAML: {problem}") from None
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise Damaged("it has no `flavors`, so MLflow did not write it")
    named = {str(name): flavor for name, flavor in flavors.items()}
    return _Package(directory, PurePosixPath(entry).parent, frozenset(files), document, named)


def _plain(package: _Package) -> tuple[str, str]:
    """The flavor that we load ourselves and its file; empty when there is none."""
    function = package.flavors.get("python_function")
    module = _word(function.get("loader_module")) if isinstance(function, dict) else ""
    for flavor, key in PLAIN.items():
        settings = package.flavors.get(flavor)
        if not isinstance(settings, dict) or module not in ("", f"mlflow.{flavor}"):
            continue
        if isinstance(function, dict) and function.get("code"):
            continue  # the file needs modules that only MLflow puts on the path
        inside = _word(settings.get(key)) or _word(settings.get("data"))
        if ".." in PurePosixPath(inside).parts or package.name(inside) not in package.files:
            raise Damaged(f"flavors.{flavor}.{key} names `{inside[:100]}`, which is not among its files")
        return flavor, package.name(inside)
    return "", ""


def _with(package: _Package, found: Detected, *, plain: bool) -> Detected:
    """With what the package records of its origin."""
    return replace(
        found,
        requirements=_requirements(package, plain=plain),
        source_run=_word(package.document.get("run_id")),
        notes=(f"packaged by MLflow {_word(package.document.get('mlflow_version'))}".rstrip(), *found.notes),
    )


def _requirements(package: _Package, *, plain: bool) -> Requirements:
    python, lines = "", []
    name = package.name("python_env.yaml")
    if name in package.files:
        try:
            recorded = yaml.safe_load((package.directory / name).read_bytes())
        except (yaml.YAMLError, ValueError, RecursionError):
            raise Damaged(f"`{name}` is not YAML") from None
        python = _word(recorded.get("python")) if isinstance(recorded, dict) else ""
    name = package.name("requirements.txt")
    if name in package.files:
        text = (package.directory / name).read_bytes()[: limits.MIB].decode("utf-8", "replace")
        lines = [line.split("#")[0].strip() for line in text.splitlines()]
    kept = [
        line for line in lines if line and line[0] != "-" and not (plain and _distribution(line) in PACKAGING)
    ]
    if len(kept) > MAX_REQUIREMENTS:
        raise Damaged(f"`{name}` names {len(kept)} packages, more than {MAX_REQUIREMENTS}")
    return Requirements(python=python[:20], packages=tuple(kept))


def _word(value: object) -> str:
    """A short text or number; empty for anything else, which an alias of YAML could make huge."""
    return str(value)[:500] if isinstance(value, str | int | float) else ""


def _distribution(line: str) -> str:
    for end, character in enumerate(line):
        if not (character.isalnum() or character in "-_."):
            return line[:end].lower().replace("_", "-")
    return line.lower().replace("_", "-")


def _fitting(found: Detected, declared: Signature) -> Signature:
    """What MLflow records, in the terms of the library that will answer.

    A graph says itself which tensors it takes; a table of columns only names those of its one matrix.
    """
    if found.format is not Format.ONNX or found.signature is None:
        return declared
    inputs, names = found.signature.inputs, tuple(spec.name for spec in declared.inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].shape[1] not in (-1, len(names)):
        return Signature()
    if {len(spec.shape) for spec in declared.inputs} != {1}:
        same = names == (inputs[0].name,)
        return Signature(sample=declared.sample if same else None)
    sample = declared.sample
    row = [sample[name][0] for name in names] if sample and set(names) <= sample.keys() else None
    return Signature(
        inputs=(replace(inputs[0], columns=names, shape=(inputs[0].shape[0], len(names))),),
        sample={inputs[0].name: [row]} if row else None,
    )
