"""What replicas wrote: kept within bounds, read from the end, followed through rotation."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.backends.base import LogLine

_BLOCK = 1 << 16
_LONGEST_LINE = 1 << 16
_OLDER = ".1"


def rotate(log: Path, *, above: int) -> None:
    """Move a log's text aside when it is larger than `above` bytes; writers keep their open file.

    Writers append, so cutting the file to nothing makes them go on at its start.
    """
    try:
        if log.stat().st_size <= above:
            return
        beside = log.with_name(f".new-{log.name}")
        with log.open("rb+") as source:
            with beside.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            beside.replace(_older(log))
            source.truncate(0)
    except FileNotFoundError:
        return


def prune(directory: Path, *, alive: Collection[str], keep: int) -> None:
    """Remove the logs of all but the last `keep` replicas that are not `alive` any more."""
    dead = [log for log in _written(directory) if log.stem not in alive]
    for log in dead[: max(0, len(dead) - keep)]:
        log.unlink(missing_ok=True)
        _older(log).unlink(missing_ok=True)


def expire(root: Path, replicas: Path, *, before: float) -> None:
    """Remove logs below PROJECT/SERVICE with no line since `before` whose replica is gone from `replicas`."""
    for directory in root.glob("*/*"):
        names = directory.parent.name, directory.name
        for log in _written(directory, before=before):
            if not replicas.joinpath(*names, log.stem).exists():
                log.unlink(missing_ok=True)
                _older(log).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            directory.rmdir()


def chosen(directory: Path, *, alive: Collection[str], replica: str) -> list[Path]:
    """Logs to show, the one written to last at the end: of one replica, of all that exist, or of the last."""
    written = _written(directory)
    if replica:
        return [log for log in written if log.stem == replica]
    return [log for log in written if log.stem in alive] or ([] if alive else written[-1:])


def tail(log: Path, count: int, *, end: int | None = None) -> list[str]:
    """The last `count` lines of a replica before position `end`, also when rotation parted them."""
    lines = _last_lines(log, count, end)
    if len(lines) < count:
        lines = _last_lines(_older(log), count - len(lines), None) + lines
    return lines


@dataclass(slots=True)
class Follower:
    """Reads what is added to one log; knows when the text was moved aside in between."""

    log: Path
    position: int = 0
    rotation: int = 0
    """Inode of the older part when this last looked."""
    rest: bytes = b""
    """A line that has only begun."""

    @classmethod
    def at_end(cls, log: Path) -> Follower:
        """Follow from the line that is being written now."""
        return cls(log, position=_last_break(log), rotation=_inode(_older(log)))

    def read(self) -> list[LogLine]:
        """Lines completed since the last call."""
        return [LogLine(self.log.stem, text) for text in self._split(b"".join(self._added()))]

    def _added(self) -> Iterator[bytes]:
        rotation = _inode(_older(self.log))
        if rotation != self.rotation:
            yield _read(_older(self.log), self.position)
            self.position, self.rotation = 0, rotation
        added = _read(self.log, self.position)
        self.position += len(added)
        yield added

    def _split(self, added: bytes) -> list[str]:
        *whole, self.rest = (self.rest + added).split(b"\n")
        while len(self.rest) > _LONGEST_LINE:
            whole.append(self.rest[:_LONGEST_LINE])
            self.rest = self.rest[_LONGEST_LINE:]
        return [_text(line) for line in whole]


@dataclass(slots=True)
class Followers:
    """Follows every log of a deployment, those of replicas that start later as well."""

    directory: Path
    replica: str = ""
    each: dict[Path, Follower] = field(default_factory=dict)

    def begin(self) -> None:
        """Follow what exists from its end; what appears later from its beginning."""
        self.each = {log: Follower.at_end(log) for log in self._logs()}

    def read(self) -> list[LogLine]:
        """Lines completed since the last call."""
        logs = self._logs()
        self.each = {log: self.each.get(log) or Follower(log) for log in logs}
        return [line for log in logs for line in self.each[log].read()]

    def begun(self, log: Path) -> int | None:
        """Where following of a log began, before anything was read."""
        return self.each[log].position if log in self.each else None

    def _logs(self) -> list[Path]:
        return [log for log in _written(self.directory) if self.replica in ("", log.stem)]


def _written(directory: Path, *, before: float = math.inf) -> list[Path]:
    """Logs by the time of their last line, those whose last line is from `before` then."""
    found = []
    for log in directory.glob("[!.]*.log"):
        try:
            changed = log.stat().st_mtime
        except FileNotFoundError:
            continue
        if changed < before:
            found.append((changed, log))
    return [log for _, log in sorted(found)]


def _older(log: Path) -> Path:
    return log.with_name(log.name + _OLDER)


def _last_break(path: Path) -> int:
    """Position after the last line end."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - _LONGEST_LINE))
            return start + file.read(size - start).rfind(b"\n") + 1
    except FileNotFoundError:
        return 0


def _last_lines(path: Path, count: int, until: int | None) -> list[str]:
    """Read backwards until there are enough line ends."""
    try:
        with path.open("rb") as file:
            start = end = file.seek(0, os.SEEK_END) if until is None else until
            blocks: list[bytes] = []
            breaks = 0
            while start and breaks <= count:
                start = max(0, start - _BLOCK)
                file.seek(start)
                block = file.read(min(_BLOCK, end - start))
                end = start
                blocks.insert(0, block)
                breaks += block.count(b"\n")
    except FileNotFoundError:
        return []
    lines = b"".join(blocks).removesuffix(b"\n").split(b"\n") if blocks else []
    return [_text(line) for line in lines[max(0, len(lines) - count) :]]


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read()
    except FileNotFoundError:
        return b""


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", errors="replace").removesuffix("\r")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
