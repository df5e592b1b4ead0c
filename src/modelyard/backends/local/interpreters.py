"""Interpreters that somebody else set up: asked what they are, never changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

from modelyard.domain.runtime import RuntimeState, RuntimeStatus

OLDEST = (3, 9)
"""The oldest interpreter that can host a model."""
_PATIENCE_SECONDS = 60.0
_ASK = """
import json, sys
import importlib.metadata
found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
print(json.dumps({"version": list(sys.version_info[:3]), "packages": found}))
"""


def status(path: str) -> RuntimeStatus:
    """What the Python program at `path` is and has; FAILED, with the remedy, when it cannot host a model.

    It runs for a moment, isolated from this process's environment. Blocking: call it in a thread.
    """
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return _failed(
            f"there is no program at {path} that may be run; name the `bin/python` of an environment"
        )
    try:
        asked = subprocess.run(
            [path, "-I", "-c", _ASK],
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        said = json.loads(asked.stdout.splitlines()[-1])
        version, packages = tuple(said["version"]), dict(said["packages"])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, KeyError, TypeError) as error:
        return _failed(
            f"{path} does not answer as Python does ({type(error).__name__}); name a Python program"
        )
    return _judged(path, version, packages)


def _judged(path: str, version: tuple[int, ...], packages: dict[str, str]) -> RuntimeStatus:
    number = ".".join(map(str, version))
    if version < OLDEST:
        return _failed(f"{path} is Python {number}; a model needs 3.9 or newer", reason="InterpreterMissing")
    if "numpy" not in packages:
        return _failed(
            f"{path} has no numpy, which every model needs; install it there", reason="RuntimeBuildFailed"
        )
    listed = dict(sorted(packages.items(), key=lambda item: item[0].lower()))
    return RuntimeStatus(
        state=RuntimeState.READY,
        interpreter=path,
        python=number,
        packages=listed,
        lock=hashlib.sha256(repr((path, number, listed)).encode()).hexdigest()[:32],
    )


def _failed(message: str, *, reason: str = "InterpreterMissing") -> RuntimeStatus:
    return RuntimeStatus(state=RuntimeState.FAILED, reason=reason, message=message)
