"""Builds one environment in a process of its own: `python -m modelyard.backends.local.build DIRECTORY`."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelyard.backends.local import files, recipe, uvtool
from modelyard.backends.local.recipe import Recipe
from modelyard.backends.local.shelf import Shelf
from modelyard.backends.local.uvtool import Uv, UvFailed
from modelyard.domain.deployment import Failure

_WHEELS_ONLY = ("--only-binary", ":all:", "--no-binary", "pyspark")
"""No package's build script runs, but that of pyspark, which is published in no other form."""
_SAY_VERSION = "import platform; print(platform.python_version())"


class _Stopped(Exception):
    """The build cannot go on; carries why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """One run of the builder."""

    home: Path
    recipe: Recipe
    shelf: Shelf
    uv: Uv
    offline: bool
    wheels: bool
    sources: bool

    @property
    def options(self) -> tuple[str, ...]:
        """What uv may do to get packages."""
        alone = ("--offline", "--no-index") if self.wheels else ("--offline",)
        return (*(alone if self.offline else ()), *(() if self.sources else _WHEELS_ONLY))

    def step(self, text: str) -> None:
        """Say what is being done."""
        files.write_json(self.home / "step.json", {"step": text})


def main(home: Path) -> int:
    """Build what `home/build.json` asks for; the outcome is `result.json` or `failure.json` beside it."""
    asked = files.read_json(home / "build.json")
    if asked is None:
        return 1
    build = _read(home, asked)
    try:
        lock = _make(build)
    except _Stopped as stopped:
        failure = stopped.failure
    except UvFailed as failed:
        failure = uvtool.judge(str(failed), offline=build.offline)
    except subprocess.TimeoutExpired:
        failure = Failure(
            reason="RuntimeBuildFailed", message="the build took more than an hour; see its log"
        )
    except OSError as error:
        reason = "DiskFull" if error.errno == errno.ENOSPC else "RuntimeBuildFailed"
        failure = Failure(reason=reason, message=f"{error.strerror}; free disk space and check permissions")
    else:
        files.write_json(home / "result.json", {"lock": lock})
        return 0
    files.write_json(home / "failure.json", asdict(failure))
    return 1


def _read(home: Path, asked: dict[str, Any]) -> _Build:
    env = uvtool.environment(os.environ, downloads=bool(asked["downloads"]))
    wanted = Recipe(**{**asked["recipe"], "requirements": tuple(asked["recipe"]["requirements"])})
    if wanted.index_url:  # not an argument, because addresses hold credentials and arguments are public
        env["UV_DEFAULT_INDEX"] = wanted.index_url
    if asked.get("wheels"):
        env["UV_FIND_LINKS"] = str(asked["wheels"])
    return _Build(
        home=home,
        recipe=wanted,
        shelf=Shelf(Path(asked["shelf"])),
        uv=Uv(program=asked["uv"], env=env, log=home / "build.log", cwd=home),
        offline=bool(asked["offline"]),
        wheels=bool(asked.get("wheels")),
        sources=bool(asked["sources"]),
    )


def _make(build: _Build) -> str:
    """The lock whose environment now stands. What is there already is not made again and needs no index."""
    if failure := recipe.check(build.recipe):
        raise _Stopped(failure)
    build.step("looking for Python")
    interpreter, python = _interpreter(build)
    lock, text = _resolution(build, interpreter, python)
    held = files.lock(build.shelf.locks / f"{lock}.lock", wait=True)
    try:
        if build.shelf.record(lock) is None:
            _install(build, interpreter, lock, text)
    finally:
        if held is not None:
            os.close(held)
    return lock


def _interpreter(build: _Build) -> tuple[str, str]:
    """Path and exact version of the Python to build for: ours when it fits."""
    asked, ours = build.recipe.python, platform.python_version()
    if not asked or f"{ours}.".startswith(f"{asked}."):
        return sys.executable, ours
    try:
        path = build.uv("python", "find", "--no-project", "--system", asked).strip()
    except UvFailed:
        there = ", ".join(sorted({ours, *uvtool.interpreters(build.uv)}, key=_sortable))
        raise _Stopped(
            Failure(
                reason="InterpreterMissing",
                message=f"Python {asked} is not installed here; there are {there}: "
                "choose one of them, install it, or allow downloads of Python",
            )
        ) from None
    said = subprocess.run(
        [path, "-I", "-c", _SAY_VERSION], capture_output=True, text=True, check=False, timeout=60
    )
    return path, said.stdout.strip() or asked


def _resolution(build: _Build, interpreter: str, python: str) -> tuple[str, str]:
    """Name and text of the lock; an earlier resolution of the same recipe is kept to."""
    known = build.shelf.locks / f"{recipe.build_id(build.recipe.name, python=python)}.json"
    if (stored := files.read_json(known)) and isinstance(stored.get("text"), str):
        return str(stored["lock"]), stored["text"]
    build.step("resolving packages")
    wanted = build.home / "requirements.in"
    files.write_text(wanted, "".join(f"{line}\n" for line in build.recipe.requirements))
    quiet = ("--quiet", "--no-header", "--no-annotate", "--generate-hashes")
    text = build.uv("pip", "compile", *quiet, *build.options, "--python", interpreter, str(wanted))
    lock = recipe.lock_name(text, python=python)
    files.write_json(known, {"lock": lock, "text": text})
    return lock, text


def _install(build: _Build, interpreter: str, lock: str, text: str) -> None:
    """Make the environment beside its place and move it there whole."""
    build.step("installing packages")
    beside = build.shelf.environments / f".new-{lock}"
    files.discard(beside)
    program = beside / "bin/python"
    build.uv("venv", "--quiet", "--relocatable", "--no-project", "--python", interpreter, str(beside))
    locked = build.home / "requirements.lock"
    files.write_text(locked, text)
    if text.strip():
        how = ("--quiet", "--require-hashes", "--no-deps", "--compile-bytecode")
        build.uv("pip", "install", *how, *build.options, "--python", str(program), "-r", str(locked))
    version = subprocess.run(
        [str(program), "-I", "-c", _SAY_VERSION], capture_output=True, text=True, check=False, timeout=60
    )
    if version.returncode:
        raise _Stopped(
            Failure(reason="RuntimeBuildFailed", message="the new environment's Python does not run")
        )
    found = {"python": version.stdout.strip(), "packages": installed(beside)}
    files.write_json(beside / "modelyard.json", found)
    place = build.shelf.environment(lock)
    files.discard(place)
    beside.rename(place)


def installed(environment: Path) -> dict[str, str]:
    """Packages of an environment by name, from their metadata."""
    paths = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions(path=paths)}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _sortable(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
