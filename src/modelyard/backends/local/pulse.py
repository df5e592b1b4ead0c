"""Notices silence by what does not change, so that a jump of the wall clock declares nobody dead."""

from __future__ import annotations

import time
from pathlib import Path


class Pulse:
    """Remembers when each file's time of change was last seen to move."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def silent_seconds(self, path: Path) -> float:
        """Seconds since `path` was last seen to change or first looked for; a missing file is silent too."""
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            changed = 0
        now = time.monotonic()
        before = self._seen.get(path)
        if before is None or before[0] != changed:
            self._seen[path] = (changed, now)
            return 0.0
        return now - before[1]

    def forget(self, path: Path) -> None:
        """It is gone for good."""
        self._seen.pop(path, None)
