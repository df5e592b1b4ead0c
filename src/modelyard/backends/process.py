"""Processes by identity, so that one which merely has the same number as ours is never touched."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "MODELYARD_LAUNCH"
"""Environment variable by which a process of ours is known even after it left its session."""

_PROC = Path("/proc")
_QUIET_LOOKS = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat, as far as identity and kinship need it."""

    pid: int
    state: str
    """One letter; Z is a zombie."""
    parent: int
    session: int
    start: int
    """Clock ticks after boot; with the pid it names one process for ever."""

    @property
    def dead(self) -> bool:
        """Whether it runs no more and only waits for its parent to take note."""
        return self.state in "ZX"


def boot() -> str:
    """Names this boot of the machine and this namespace of pids: what numbers of processes are valid in."""
    try:
        machine = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{machine} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def parse(line: str) -> Stat | None:
    """Read a stat line; None when it is not a whole one. The name in it may hold spaces and parentheses."""
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    try:
        number = int(head.partition("(")[0])
        return Stat(number, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
    except (ValueError, IndexError):
        return None


def look(pid: int) -> Stat | None:
    """The process that has this number now."""
    try:
        return parse((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except OSError:
        return None


def birth(path: Path) -> Stat | None:
    """The process whose stat line was written to `path` when it began."""
    try:
        return parse(path.read_text(errors="replace"))
    except OSError:
        return None


def alive(born: Stat | None) -> bool:
    """Whether the process that was born so still runs."""
    now = look(born.pid) if born else None
    return now is not None and born is not None and now.start == born.start and not now.dead


def send(born: Stat, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone. Raises PermissionError for another user's."""
    try:
        handle = os.pidfd_open(born.pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return alive(born) and _send_by_number(born.pid, number)
    try:
        if not alive(born):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def end(leader: Stat | None, mark: str, *, seen: Iterable[Stat] = (), patience: float = 5.0) -> bool:
    """Kill a session wholly: its leader, its members, their children, and who carries `mark`.

    `seen` are processes known to have belonged to it. Returns whether all are gone within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    known = tuple(seen)
    quiet = 0
    # A process shows no environment while it becomes another program, so one look that finds nothing is not
    # enough.
    while quiet < _QUIET_LOOKS:
        found = {*_members(leader, mark), *(each for each in known if alive(each))}
        for each in found:
            send(each, signal.SIGKILL)
        if found and time.monotonic() > deadline:
            return False
        quiet = 0 if found else quiet + 1
        time.sleep(0.005)
    return True


def family(pid: int) -> list[Stat]:
    """A living process and its descendants."""
    found: list[Stat] = []
    waiting = [pid]
    while waiting:
        number = waiting.pop()
        stat = look(number)
        if stat and not stat.dead:
            found.append(stat)
            waiting += _children(number)
    return found


def memory(processes: Iterable[Stat]) -> int:
    """Resident bytes of all of them."""
    total = 0
    for each in processes:
        try:
            total += int((_PROC / str(each.pid) / "statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            continue
    return total


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since boot; 0 where it does not say."""
    try:
        lines = (_PROC / "vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _send_by_number(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _members(leader: Stat | None, mark: str) -> list[Stat]:
    """Everything alive that belongs to the leader's session or carries the mark."""
    everyone = {stat.pid: stat for stat in _everyone()}
    # A dead leader that nobody has waited for still holds its number, so its session is still ours.
    present = everyone.get(leader.pid) if leader else None
    ours = {present.pid} if leader and present and present.start == leader.start else set[int]()
    growing = True
    while growing:
        kin = {s.pid for s in everyone.values() if s.pid in ours or s.parent in ours or s.session in ours}
        growing = not kin <= ours
        ours |= kin
    needle = f"{MARK}={mark}".encode()
    return [s for s in everyone.values() if not s.dead and (s.pid in ours or _carries(s.pid, needle))]


def _everyone() -> Iterator[Stat]:
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (stat := look(int(entry))):
            yield stat


def _carries(pid: int, needle: bytes) -> bool:
    try:
        return needle in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    """Child processes of every thread; empty where the kernel does not list them."""
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except (OSError, ValueError):
        pass
    return found
