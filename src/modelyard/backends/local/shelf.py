"""Where built environments, resolutions and builds are kept, and how far each is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.backends.local import files, recipe, spawn
from modelyard.domain.runtime import RuntimeState, RuntimeStatus

MOST_ATTEMPTS = 3
"""A build that ends so often without a word will not be begun again by itself."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The directories of one installation's environments."""

    directory: Path

    def prepare(self) -> None:
        """Make the directories. Raises OSError."""
        for each in (self.builds, self.environments, self.locks):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def builds(self) -> Path:
        """Holds one directory for each recipe: who builds it, what came of it, the log."""
        return self.directory / "builds"

    @property
    def environments(self) -> Path:
        """Holds one environment for each lock."""
        return self.directory / "envs"

    @property
    def locks(self) -> Path:
        """Holds resolutions, and which recipe was resolved to which."""
        return self.directory / "locks"

    def build(self, name: str) -> Path:
        """Directory of a recipe's build."""
        return self.builds / name

    def environment(self, lock: str) -> Path:
        """Directory of a lock's environment."""
        return self.environments / lock

    def record(self, lock: str) -> dict[str, Any] | None:
        """What was installed for a lock; None unless it is whole and its interpreter runs."""
        home = self.environment(lock)
        return files.read_json(home / "modelyard.json") if os.access(home / "bin/python", os.X_OK) else None

    def lock_of(self, name: str) -> str:
        """The lock that a recipe was built to, or empty."""
        return str((files.read_json(self.build(name) / "result.json") or {}).get("lock") or "")

    def lock_text(self, lock: str) -> str:
        """Packages and hashes of a lock; empty when nobody knows it."""
        known = (files.read_json(path) or {} for path in sorted(self.locks.glob("*.json")))
        return next((str(each.get("text") or "") for each in known if each.get("lock") == lock), "")

    def status(self, name: str) -> RuntimeStatus:
        """How far a recipe is, from disk."""
        home = self.build(name)
        lock = self.lock_of(name)
        if lock and (record := self.record(lock)):
            return RuntimeStatus(
                state=RuntimeState.READY,
                interpreter=str(self.environment(lock) / "bin/python"),
                python=str(record.get("python")),
                packages=recipe.packages(record),
                lock=lock,
            )
        if spawn.running(home):
            step = (files.read_json(home / "step.json") or {}).get("step") or "beginning"
            return RuntimeStatus(state=RuntimeState.BUILDING, message=str(step))
        return self._unbuilt(home)

    def _unbuilt(self, home: Path) -> RuntimeStatus:
        if failure := files.read_json(home / "failure.json"):
            return RuntimeStatus(
                state=RuntimeState.FAILED,
                reason=str(failure.get("reason")),
                message=str(failure.get("message")),
            )
        attempts = (files.read_json(home / "build.json") or {}).get("attempts", 0)
        if attempts >= MOST_ATTEMPTS:
            message = (
                f"the build was ended {attempts} times before it was done; see its log and build it again"
            )
            return RuntimeStatus(state=RuntimeState.FAILED, reason="RuntimeBuildFailed", message=message)
        return RuntimeStatus(message="the build was interrupted" if attempts else "")
