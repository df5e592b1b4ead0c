"""Reads worker.json, proves that the model's files are the published ones, and sets the process up."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any, Dict, Mapping

from modelyard_worker.failures import Failure

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def read(path: str) -> Dict[str, Any]:
    """Read worker.json.

    Raises Failure(ModelLoadFailed) when it is not a JSON object or names no format and path.
    """
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise Failure("ModelLoadFailed", f"the worker's configuration is not readable: {error}") from error
    if not isinstance(config, dict) or not config.get("format") or not config.get("path"):
        raise Failure("ModelLoadFailed", "the worker's configuration must name `format` and `path`")
    return config


def verify(config: Mapping[str, Any]) -> None:
    """Compare every file with its recorded SHA-256.

    Raises Failure(ArtifactCorrupt) that names the file and both checksums, Failure(PermissionDenied).
    """
    for file in config.get("files") or ():
        path = os.path.join(str(config["path"]), str(file["path"]))
        try:
            found = sha256(path)
        except FileNotFoundError:
            found = "no file"
        except PermissionError as error:
            raise Failure(
                "PermissionDenied", f"{file['path']} is not readable by the platform's user"
            ) from error
        if found != file["sha256"]:
            raise Failure(
                "ArtifactCorrupt",
                f"{file['path']} is not the published file: expected sha256 {file['sha256']}, found {found}; "
                "restore the file from a backup or publish the model again",
            )


def sha256(path: str) -> str:
    """Checksum of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def prepare(config: Mapping[str, Any]) -> None:
    """Make the model's modules importable.

    The model's directory comes last on the path, so that a file named like a library does not shadow it.
    """
    directory = os.path.realpath(str(config["path"]))
    if directory not in sys.path:
        sys.path.append(directory)


def published(config: Mapping[str, Any]) -> Dict[str, Any]:
    """What the publisher said about the signature; `sample` may be in any form of rows, also beside it."""
    said: Dict[str, Any] = dict(config.get("signature") or {})
    if said.get("sample") is None and config.get("sample") is not None:
        said["sample"] = config["sample"]
    return said


def limit_threads(config: Mapping[str, Any]) -> None:
    """Bound the threads of numeric libraries, which read these variables when they are imported."""
    if threads(config):
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads(config)))


def threads(config: Mapping[str, Any]) -> int:
    """How many threads the model may compute with; 0 leaves it to the library."""
    return int(config.get("threads") or 0)


def entry_path(config: Mapping[str, Any]) -> str:
    """The file that the loader opens."""
    return os.path.join(os.path.realpath(str(config["path"])), str(config.get("entry") or ""))
