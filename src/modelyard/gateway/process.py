"""Processes that outlive the control plane: started detached, found again, ended by identity."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_LARGEST_LOG = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """A process, told from a later one with the same pid by its start time."""

    pid: int
    started: int
    """Clock ticks after the machine's boot."""


def spawn(arguments: Sequence[str], *, log: Path, record: Path) -> Running:
    """Start a program in a session of its own and write down who it is; raises OSError if it cannot."""
    _rotate(log)
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        {"PATH": os.defpath},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )
    running = Running(pid, _started(pid) or 0)
    beside = record.with_name(f".{record.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"pid": running.pid, "started": running.started}, file)
    beside.replace(record)
    return running


def find(record: Path, words: Sequence[str]) -> Running | None:
    """The process of this record, else one of ours whose arguments hold `words` in a row; None if none lives.

    Whoever started it may have been killed before the record was written.
    """
    recorded = _recorded(record)
    if recorded is not None and alive(recorded):
        return recorded
    return next(_search(words), None)


def alive(running: Running) -> bool:
    """Whether exactly this process still runs; collects its exit status if it was our child."""
    if _started(running.pid) == running.started:
        return True
    # Only now: asked before, it could die in between and stay a zombie for good.
    with contextlib.suppress(ChildProcessError):  # it may be the child of an earlier control plane
        os.waitpid(running.pid, os.WNOHANG)
    return False


def send(running: Running, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens if it is gone."""
    try:
        descriptor = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        if _started(running.pid) == running.started:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _recorded(record: Path) -> Running | None:
    try:
        said = json.loads(record.read_bytes())
        return Running(int(said["pid"]), int(said["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _search(words: Sequence[str]) -> Iterator[Running]:
    wanted = "\0".join(words).encode() + b"\0"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            ours = entry.stat().st_uid == os.geteuid() and wanted in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        started = _started(int(entry.name)) if ours else None
        if started is not None:
            yield Running(int(entry.name), started)


def _started(pid: int) -> int | None:
    """Start time of a process that is neither gone nor a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
