"""One Envoy process: started detached, found again, and ended by its identity and never by its name."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.gateway.envoy import files
from modelyard.gateway.envoy.layout import Layout

_LARGEST_LOG = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """A process, told from a later one with the same pid by its start time."""

    pid: int
    started: int
    """Clock ticks after the machine's boot."""


def spawn(layout: Layout, *, binary: str, concurrency: int) -> Running:
    """Start Envoy in a session of its own, so that it outlives us; raises OSError when it cannot start."""
    _rotate(layout.log)
    arguments = [binary, *_identity(layout), "--disable-hot-restart", "--log-level", "warning"]
    arguments += ["--concurrency", str(concurrency), "--drain-strategy", "immediate"]
    pid = os.posix_spawn(
        binary,
        arguments,
        {"PATH": os.defpath},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(layout.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )
    _allow_many_connections(pid)
    running = Running(pid, _started(pid) or 0)
    files.replace(layout.record, {"pid": running.pid, "started": running.started})
    return running


def find(layout: Layout) -> Running | None:
    """The Envoy that works by this layout, though another process of ours started it; None if none lives."""
    record = files.read(layout.record) or {}
    recorded = Running(int(record.get("pid", 0)), int(record.get("started", 0)))
    if recorded.pid and alive(recorded):
        return recorded
    # Whoever started it may have been killed before the record was written.
    return next(_search(layout), None)


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


def _identity(layout: Layout) -> list[str]:
    return ["--config-path", str(layout.bootstrap)]


def _search(layout: Layout) -> Iterator[Running]:
    wanted = "\0".join(_identity(layout)).encode() + b"\0"
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


def _allow_many_connections(pid: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
