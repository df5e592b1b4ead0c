"""Runs a guest once, in a process of its own that is wholly gone afterwards."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.backends import endings, process
from modelyard.backends.base import Answer, Task, TaskKind
from modelyard.backends.local import files, places
from modelyard.backends.process import Stat
from modelyard.domain.deployment import Failure
from modelyard.domain.variant import Optimize

_LOCK = "lock"
_LOOK_SECONDS = 0.1
_OUT = "out"
_MOST_RESULT = 256 << 20
_MOST_FILE = 256 << 20
# A control plane that dies leaves the guest without a watcher until the next one starts: processor time is
# bounded by the kernel as well, generously, because threads add up.
_LIMITED = 'ulimit -c 0; ulimit -t "$1"; shift; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task with everything that is needed to run it."""

    task: Task
    prefix: Sequence[str]
    """What stands before the guest's interpreter, such as a command that takes the network away."""
    worker: Path
    """Directory of the guest's host."""
    config: Mapping[str, Any]
    """The guest's configuration, `worker.json`."""
    env: Mapping[str, str]
    home: Path
    """Directory of the task; its mark is in `env`."""
    output_bytes: int
    """How much stdout and stderr may each say."""


@dataclass(slots=True)
class _Run:
    """What was learned while the guest ran."""

    child: asyncio.subprocess.Process
    leader: Stat | None
    seen: set[Stat] = field(default_factory=set)
    ended: Failure | None = None
    """Why it was killed."""


@asynccontextmanager
async def workplace(parent: Path) -> AsyncIterator[Path]:
    """A fresh directory for one task, removed afterwards; held locked so that `sweep` leaves it alone."""
    home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="task-", dir=parent))
    held = files.lock(home / _LOCK)
    try:
        (home / "work").mkdir(mode=0o700)
        (home / "tmp").mkdir(mode=0o700)
        (home / _OUT).mkdir(mode=0o700)
        yield home
    finally:
        files.discard(home)
        if held is not None:
            os.close(held)


def sweep(parent: Path) -> None:
    """End what tasks of a control plane that died have left."""
    for home in files.directories(parent):
        held = files.lock(home / _LOCK)
        if held is None:
            continue
        process.end(None, places.mark(home))
        files.discard(home)
        os.close(held)


async def run(order: Order) -> Answer:
    """Ask the guest; every way in which it can fail is an answer. Nothing of it runs when this returns."""
    began = time.monotonic()
    files.write_json(order.home / "worker.json", order.config)
    files.write_json(order.home / "request.json", order.task.request)
    oom_kills = process.oom_kills()
    try:
        child = await _start(order)
    except OSError as error:
        return Answer(result=None, failure=_unstartable(order, error))
    going = _Run(child, process.look(child.pid))
    writings = asyncio.gather(*(_capped(stream, order.output_bytes) for stream in _streams(child)))
    try:
        await _watch(going, order)
    finally:
        gone = await asyncio.shield(asyncio.create_task(_end(going, order)))
    stdout, stderr = await writings
    result, failure = _outcome(order, going, oomed=process.oom_kills() > oom_kills)
    return Answer(
        result=result,
        failure=failure if gone else Failure(reason="WorkerHung", message="the process could not be ended"),
        stdout=stdout,
        stderr=stderr,
        device=str((result or {}).get("device") or ""),
        duration_seconds=time.monotonic() - began,
    )


def compiling(task: Task, home: Path) -> dict[str, Any]:
    """What the guest's configuration says more when a variant is to be compiled."""
    if task.optimize is Optimize.OFF:
        return {}
    return {"optimize": {"wanted": task.optimize.value, "directory": str(home / _OUT)}}


def collect(home: Path, target: Path) -> None:
    """Copy the files that a guest made; only what is a file itself, as it may leave links to anything."""
    for entry in sorted((home / _OUT).iterdir()):
        try:
            source = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        with os.fdopen(source, "rb") as file:
            facts = os.fstat(source)
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_size <= _MOST_FILE:
                with (target / entry.name).open("xb") as kept:
                    shutil.copyfileobj(file, kept)


async def _start(order: Order) -> asyncio.subprocess.Process:
    question = ["--request", str(order.home / "request.json")] if order.task.kind == TaskKind.TEST else []
    seconds = math.ceil(order.task.timeout_seconds + 1) * (os.cpu_count() or 1)
    return await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _LIMITED, "sh", str(seconds)),
        *order.prefix,
        *(order.task.guest.interpreter, str(order.worker / "__main__.py"), order.task.kind),
        *("--config", str(order.home / "worker.json"), *question, "--out", str(order.home / "result.json")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=order.home / "work",
        env=dict(order.env),
        start_new_session=True,
    )


async def _end(going: _Run, order: Order) -> bool:
    """Kill what is left, also when nothing is."""
    gone = await asyncio.to_thread(process.end, going.leader, places.mark(order.home), seen=going.seen)
    if gone:
        await going.child.wait()
    return gone


async def _watch(going: _Run, order: Order) -> None:
    """Until the guest ends, or has used up its time or its memory."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + order.task.timeout_seconds
    waiting = asyncio.create_task(going.child.wait())
    try:
        # Waiting ends only when the pipes are closed too, which a grandchild may hold open.
        while going.child.returncode is None:
            left = deadline - loop.time()
            if left <= 0:
                going.ended = endings.late(order.task)
                return
            await asyncio.wait({waiting}, timeout=min(left, _LOOK_SECONDS))
            family = process.family(going.child.pid)
            going.seen.update(family)
            limit = order.task.memory_bytes
            if limit and process.memory(family) > limit:
                going.ended = endings.too_big(limit)
                return
    finally:
        waiting.cancel()


def _streams(child: asyncio.subprocess.Process) -> list[asyncio.StreamReader]:
    return [stream for stream in (child.stdout, child.stderr) if stream]


async def _capped(stream: asyncio.StreamReader, most: int) -> str:
    """The first `most` bytes of a stream; the rest is read and dropped, so that the writer never blocks."""
    kept = bytearray()
    total = 0
    while block := await stream.read(1 << 16):
        total += len(block)
        kept += block[: max(0, most - len(kept))]
    text = kept.decode("utf-8", errors="replace")
    return text if total <= most else f"{text}\n[{total - most} bytes more were left out]\n"


def _outcome(order: Order, going: _Run, *, oomed: bool) -> tuple[dict[str, Any] | None, Failure | None]:
    out = order.home / "result.json"
    if order.task.optimize is not Optimize.OFF and (going.ended or going.child.returncode):
        return _inspected(order, going, oomed=oomed)
    if going.ended:
        return None, going.ended
    if out.exists() and out.stat().st_size > _MOST_RESULT:
        return None, endings.too_long(_MOST_RESULT)
    said = files.read_json(out)
    if said is None:
        return None, endings.silent(going.child.returncode or 0, oomed=oomed)
    failure, result = said.get("failure"), said.get("result")
    if isinstance(failure, dict):
        return None, Failure(reason=str(failure.get("reason")), message=str(failure.get("message") or ""))
    return (result, None) if isinstance(result, dict) else (None, endings.silent(0, oomed=False))


def _inspected(order: Order, going: _Run, *, oomed: bool) -> tuple[dict[str, Any] | None, Failure]:
    """What is left of a guest that was ended: its inspection, if that was over, and why it was ended."""
    ended = going.ended or endings.silent(going.child.returncode or 0, oomed=oomed)
    said = files.read_json(order.home / "result.json") or {}
    result = said.get("result")
    return (result if isinstance(result, dict) else None), ended


def _unstartable(order: Order, error: OSError) -> Failure:
    return Failure(
        reason="StartFailed",
        message=f"the process for runtime `{order.task.guest.runtime}` cannot be started: {error.strerror}",
    )
