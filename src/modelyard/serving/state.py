"""state.json: what the front tells whoever started it, and the heartbeat that it lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


class StateFile:
    """A file that is written beside itself and renamed, so that a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        # As strings: a Path that is written again and again interns its parts again and again.
        self._path = str(path)
        self._beside = f"{path}.{os.getpid()}"
        self._last = b""

    @property
    def last(self) -> bytes:
        """What was written last, JSON; empty before the first time."""
        return self._last

    def write(self, state: Mapping[str, Any]) -> None:
        """Write the state if it is another one; raises OSError when the disk refuses."""
        content = orjson.dumps(state)
        if content == self._last:
            return
        with open(self._beside, "wb") as file:
            file.write(content)
        os.replace(self._beside, self._path)
        self._last = content

    def beat(self) -> None:
        """Say that the front is alive: the file's time of change is now."""
        with contextlib.suppress(OSError):
            os.utime(self._path)
