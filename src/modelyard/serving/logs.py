"""The front's log: one JSON object a line on stderr; never a payload."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

PER_SECOND = 20
"""Lines about single requests that a second may bring; the others are counted."""


class Log:
    """Writes events with what is the same in all of them."""

    def __init__(self, common: Mapping[str, Any], stream: TextIO | None = None) -> None:
        self._common = dict(common)
        self._stream = stream if stream is not None else sys.stderr
        self._second = 0
        self._written = 0
        self._dropped = 0

    def info(self, event: str, **fields: Any) -> None:
        """Something happened."""
        self._write("info", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something went wrong."""
        self._write("error", event, fields)

    def request(self, event: str, **fields: Any) -> None:
        """Something about one request; a flood of these is cut down to what a reader can take in."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
            if self._dropped:
                self._write("warning", "requests_not_logged", {"count": self._dropped})
                self._dropped = 0
        if self._written >= PER_SECOND:
            self._dropped += 1
            return
        self._written += 1
        self._write("warning", event, fields)

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": moment, "level": level, "event": event, **self._common, **fields}
        try:
            self._stream.write(orjson.dumps(line, default=str).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads the log any more; serving goes on
