"""Builds runtimes as directories: resolved once, shared by all that resolve alike, made detached."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path

from modelyard.backends import process
from modelyard.backends.local import files, interpreters, recipe, spawn, uvtool
from modelyard.backends.local.places import mark
from modelyard.backends.local.recipe import Recipe
from modelyard.backends.local.shelf import MOST_ATTEMPTS, Shelf
from modelyard.domain.errors import BackendError
from modelyard.domain.runtime import Runtime, RuntimeSpec, RuntimeState, RuntimeStatus, of_image

_PROGRAM = "modelyard.backends.local.build"


class Allow(StrEnum):
    """What building a runtime may do beyond installing wheels for an interpreter that is there."""

    PYTHON_DOWNLOADS = "python-downloads"
    SOURCE_BUILDS = "source-builds"
    """Run the build scripts of packages that have no wheel, with access to the index's credentials."""


class LocalEnvironments:
    """Environments below one directory, and interpreters that others look after.

    What is true is on disk, so a restart loses nothing.

    `index_url` empty means what uv is configured for; `offline` builds from uv's cache only,
    and from `wheels`, a directory that is asked beside the index otherwise.
    """

    def __init__(
        self,
        *,
        directory: Path,
        uv: str,
        index_url: str = "",
        offline: bool = False,
        wheels: str = "",
        allow: frozenset[Allow] = frozenset(),
    ) -> None:
        self._shelf = Shelf(directory.absolute())
        self._shelf.prepare()
        self._uv = uv
        self._index_url = index_url
        self._offline = offline
        self._wheels = wheels
        self._allow = allow
        self._host: RuntimeStatus | None = None
        self._turn = asyncio.Lock()
        self._builders: dict[Path, subprocess.Popen[bytes]] = {}

    async def host(self) -> RuntimeStatus:
        """Our own interpreter; its packages are read once."""
        if self._host is None:
            self._host = await asyncio.to_thread(_host)
        return self._host

    async def observe(self, runtime: Runtime) -> RuntimeStatus:
        """How far a runtime is, from disk; PENDING when nothing builds it and nothing is wrong.

        An interpreter that is there already is asked what it is.
        """
        if runtime.spec.interpreter:
            return await asyncio.to_thread(interpreters.status, runtime.spec.interpreter)
        if _is_image(runtime.spec):
            return of_image(runtime.spec.image)
        status = await asyncio.to_thread(self._observe, self._recipe(runtime.spec))
        return replace(status, image=runtime.spec.image)

    async def build(self, runtime: Runtime) -> None:
        """Start a builder unless one runs or the environment stands; a failed build begins anew.

        Raises BackendError when the disk or the machine refuses.
        """
        if runtime.spec.interpreter or _is_image(runtime.spec):
            return
        async with self._turn:
            try:
                await asyncio.to_thread(self._build, self._recipe(runtime.spec))
            except OSError as error:
                raise BackendError(f"the build cannot start: {error.strerror}; free disk space") from error

    async def remove(self, runtime: Runtime, *, others: Sequence[RuntimeSpec] = ()) -> None:
        """End a build that runs and delete the environment, unless one of `others` needs it."""
        if runtime.spec.interpreter or _is_image(runtime.spec):
            return
        built = (other for other in others if not other.interpreter and not _is_image(other))
        kept = {self._recipe(other).name for other in built}
        async with self._turn:
            await asyncio.to_thread(self._remove, self._recipe(runtime.spec).name, kept)

    def log(self, runtime: Runtime) -> str:
        """What the last build said; empty when there was none."""
        if runtime.spec.interpreter or _is_image(runtime.spec):
            return ""
        try:
            return (self._shelf.build(self._recipe(runtime.spec).name) / "build.log").read_text()
        except OSError:
            return ""

    def lock_text(self, interpreter: str) -> str:
        """The lock that an interpreter's environment was made from; empty for one that is not from here."""
        home = Path(interpreter).parent.parent
        return self._shelf.lock_text(home.name) if home.parent == self._shelf.environments else ""

    def _recipe(self, spec: RuntimeSpec) -> Recipe:
        return recipe.of(spec, index_url=self._index_url)

    def _observe(self, wanted: Recipe) -> RuntimeStatus:
        if child := self._builders.get(self._shelf.build(wanted.name)):
            child.poll()
        return self._shelf.status(wanted.name)

    def _build(self, wanted: Recipe) -> None:
        home = self._shelf.build(wanted.name)
        status = self._observe(wanted)
        if status.state in (RuntimeState.READY, RuntimeState.BUILDING):
            return
        process.end(None, mark(home))
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = 0 if status.state is RuntimeState.FAILED else _attempts(home)
        for name in ("failure.json", "result.json", "step.json", "build.log"):
            (home / name).unlink(missing_ok=True)
        files.write_json(home / "build.json", self._order(wanted, attempts=before + 1))
        program = spawn.Program(
            argv=(sys.executable, "-m", _PROGRAM, str(home)),
            env={
                **uvtool.environment(os.environ, downloads=Allow.PYTHON_DOWNLOADS in self._allow),
                "PYTHONSAFEPATH": "1",
                process.MARK: mark(home),
            },
            home=home,
            log=home / "build.log",
        )
        if child := spawn.spawn(program):
            self._builders[home] = child

    def _order(self, wanted: Recipe, *, attempts: int) -> dict[str, object]:
        return {
            "recipe": asdict(wanted),
            "shelf": str(self._shelf.directory),
            "uv": self._uv,
            "offline": self._offline,
            "wheels": self._wheels,
            "downloads": Allow.PYTHON_DOWNLOADS in self._allow,
            "sources": Allow.SOURCE_BUILDS in self._allow,
            "attempts": min(attempts, MOST_ATTEMPTS),
        }

    def _remove(self, name: str, kept: set[str]) -> None:
        if name in kept:
            return
        home = self._shelf.build(name)
        lock = self._shelf.lock_of(name)
        process.end(process.birth(home / spawn.BIRTH), mark(home))
        if child := self._builders.pop(home, None):
            child.wait()
        files.discard(home)
        if lock and lock not in {self._shelf.lock_of(other) for other in kept}:
            files.discard(self._shelf.environment(lock))
            self._forget(lock)

    def _forget(self, lock: str) -> None:
        """Remove resolutions to a lock, so that building again resolves anew."""
        for known in self._shelf.locks.glob("*.json"):
            if (files.read_json(known) or {}).get("lock") == lock:
                known.unlink(missing_ok=True)
        (self._shelf.locks / f"{lock}.lock").unlink(missing_ok=True)


def _is_image(spec: RuntimeSpec) -> bool:
    """Whether it is an image as it is, so that nothing is built."""
    return bool(spec.image) and not spec.packages


def _attempts(home: Path) -> int:
    attempts = (files.read_json(home / "build.json") or {}).get("attempts", 0)
    return attempts if isinstance(attempts, int) else 0


def _host() -> RuntimeStatus:
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    packages = dict(sorted(found.items(), key=lambda item: item[0].lower()))
    return RuntimeStatus(
        state=RuntimeState.READY,
        interpreter=sys.executable,
        python=platform.python_version(),
        packages=packages,
        lock=hashlib.sha256(repr((sys.version, packages)).encode()).hexdigest()[:32],
    )
