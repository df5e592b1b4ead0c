"""What a pod has to install before its model can be loaded, and where that comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.base import Guest
from modelyard.backends.delivery import Wheels
from modelyard.domain.errors import BackendError, NotFound
from modelyard.domain.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """The packages of a runtime."""

    lock: str = ""
    """With their hashes; empty when there is nothing to install."""
    wheels: tuple[File, ...] | None = None
    """What the platform lends; None has the pod ask an index."""
    directory: Path = Path()
    """Where those lie here."""


NONE = Packages()


async def packages_of(guest: Guest, lock_of: Callable[[str], str], wheels: Wheels | None) -> Packages:
    """What a guest's runtime needs. Raises BackendError when pods cannot have it."""
    lock = await asyncio.to_thread(lock_of, guest.interpreter)
    if not lock:
        raise BackendError(
            f"runtime {guest.runtime} is an interpreter of one machine, which pods do not have; give it "
            "packages instead, or serve with an image of your own",
            retryable=False,
            reason="InterpreterMissing",
        )
    if wheels is None:
        return Packages(lock=lock)
    try:
        return Packages(lock=lock, wheels=await wheels.of_lock(lock), directory=wheels.directory)
    except NotFound as error:
        raise BackendError(error.message, retryable=False, reason="RuntimeBuildFailed") from error
