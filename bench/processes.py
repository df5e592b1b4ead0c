"""What processes cost: memory that is theirs alone or shared in part, and processor time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Spent:
    """One run of a command."""

    wall_seconds: float
    cpu_seconds: float
    """User and system, children included."""


def pss(process: psutil.Process) -> float:
    """Proportional set size, MiB: private pages, and a fair share of those that others map too."""
    return _mapped(process, "Pss:")


def rss(process: psutil.Process) -> float:
    """Resident set size, MiB: what the proportional one would be if nobody else mapped the same files."""
    return _mapped(process, "Rss:")


def cpu(process: psutil.Process) -> float:
    """User and system seconds of a process, not of its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def run(command: Sequence[str], environ: Mapping[str, str]) -> Spent:
    """Run a command to its end; raises RuntimeError with what it wrote when it fails."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}: {said}")
    return Spent(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def _mapped(process: psutil.Process, kind: str) -> float:
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / _MIB
