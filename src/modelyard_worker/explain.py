"""Turns whatever a guest raised into a Failure with a reason and a remedy."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from typing import Any, Mapping, Optional

from modelyard_worker import packages
from modelyard_worker.failures import Failure

CORRUPT = ("EOFError", "UnpicklingError", "BadZipFile", "BadGzipFile", "LZMAError", "zlib.error")
"""Errors that a damaged file raises whatever library reads it."""

UNREADABLE = (
    "XGBoostError",
    "LightGBMError",
    "CatBoostError",
    "InvalidProtobuf",
    "InvalidGraph",
    "NoSuchFile",
    "JSONDecodeError",
)
"""Errors of a library that does not understand the file."""

LONGEST = 300
"""Characters of a guest's message that are passed on."""


def explain(error: BaseException, config: Mapping[str, Any], *, loading: bool) -> Failure:
    """Say why loading or predicting failed.

    `loading` is False while a prediction is made. Python's traceback is not part of the answer.
    """
    if isinstance(error, Failure):
        return error
    found = _from_machine(error, config, loading=loading) or _from_imports(error, config)
    if found is None and loading:
        found = _from_file(error, config)
    if found is not None:
        return found
    frame = guest_frame(error, config)
    if frame or config.get("format") == "python":
        return Failure("UserCodeFailed", _located(error, frame, config))
    text = describe(error, config)
    return Failure("ModelLoadFailed" if loading else "PredictionFailed", text)


def describe(error: BaseException, config: Mapping[str, Any]) -> str:
    """One line about an error, with the model's files named relative to its directory."""
    if isinstance(error, SystemExit):
        return f"the model's code called sys.exit({error.code!r}): remove the call, a model must stay running"
    text = re.sub(r"\s*\n\s*", " ", str(error)).strip()
    text = _relative(re.sub(r" from '[^']*'(?=>)", "", text), config)
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def guest_frame(error: BaseException, config: Mapping[str, Any]) -> str:
    """Where in the model's files an error was raised, such as `model.py line 12 in predict`; else empty."""
    root = os.path.realpath(str(config.get("path") or os.sep + "nowhere")) + os.sep
    if isinstance(error, SyntaxError) and error.filename:
        where = os.path.realpath(error.filename)
        if where.startswith(root):
            return f"{where[len(root) :]} line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        where = os.path.realpath(frame.filename)
        if where.startswith(root):
            return f"{where[len(root) :]} line {frame.lineno} in {frame.name}"
    return ""


def _located(error: BaseException, frame: str, config: Mapping[str, Any]) -> str:
    text = describe(error, config)
    return f"{frame}: {text}" if frame else text


def _from_machine(error: BaseException, config: Mapping[str, Any], *, loading: bool) -> Optional[Failure]:
    frame = guest_frame(error, config)
    text = _located(error, frame, config)
    if isinstance(error, MemoryError):
        return Failure("OutOfMemory", f"memory is exhausted ({text}): give the deployment more memory")
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.EADDRINUSE:
        remedy = "listen on port 0, or not at all: requests reach the model through its predict function"
        return Failure("PortInUse", f"{text}; another program has that port: {remedy}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("DiskFull", f"{text}: free some space and try again")
    if isinstance(error, PermissionError) and loading:
        remedy = "let the platform's user read it, or publish the file with the model"
        return Failure("PermissionDenied", f"{text}: {remedy}")
    return None


def _from_imports(error: BaseException, config: Mapping[str, Any]) -> Optional[Failure]:
    if not isinstance(error, ImportError):
        return None
    detail = describe(error, config)
    module = error.name or ""
    if module.startswith("numpy._core"):
        present = packages.installed_version("numpy")
        message = (
            f"the model was made with numpy 2, this runtime has numpy {present}; choose or build a runtime"
        )
        return Failure("VersionMismatch", message + " with numpy>=2")
    top = module.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and top and top not in sys.modules:
        return packages.missing_package(module)
    return packages.version_mismatch(config, detail)


def _from_file(error: BaseException, config: Mapping[str, Any]) -> Optional[Failure]:
    detail = describe(error, config)
    entry = config.get("entry") or "the model's file"
    kind = type(error).__name__
    if guest_frame(error, config) or config.get("format") == "python":
        return None
    if kind in CORRUPT or f"{type(error).__module__}.{kind}" in CORRUPT:
        return Failure("ArtifactCorrupt", f"{entry} is damaged or cut short ({detail}): publish it again")
    mismatch = packages.version_mismatch(config, detail)
    if mismatch is not None:
        return mismatch
    if kind in UNREADABLE:
        return Failure("ArtifactCorrupt", f"{entry} is not readable ({detail}): publish it again")
    if isinstance(error, AttributeError) and "__main__" in str(error):
        remedy = "put the class or function into a module beside the model's file and publish both"
        return Failure(
            "ModelLoadFailed", f"the file needs code that only the training script had ({detail}): {remedy}"
        )
    return None


def _relative(text: str, config: Mapping[str, Any]) -> str:
    for root in (str(config.get("path") or ""), os.path.dirname(os.path.abspath(__file__))):
        if root:
            text = text.replace(os.path.realpath(root) + os.sep, "").replace(root.rstrip(os.sep) + os.sep, "")
    return text
