"""Whether another model fits: what it needs, as measured or as large as its files, and what is free.

Files are opened by their names: a Path interns every part of it, and what CPython 3.11 has interned makes the
table of such strings grow, by half a MiB at a time, for as long as models come and go.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from modelyard.serving.errors import Failure

ROOT = "/"
UNFIT = "InsufficientResources"
_UNLIMITED = 1 << 60


def free_bytes(root: str = ROOT) -> int:
    """Memory that new processes can have: the machine's, or what the control group leaves. 0 when unknown."""
    machine = _meminfo(os.path.join(root, "proc/meminfo"))
    group = _group(root)
    return min(machine, group) if machine else 0


def artifact_bytes(worker_config: Mapping[str, Any]) -> int:
    """Bytes of a model's files: it hardly needs less memory."""
    if worker_config.get("bytes"):  # where not all files are listed
        return int(worker_config["bytes"])
    home = str(worker_config.get("path") or "/nonexistent")
    files = worker_config.get("files") or ()
    names = [str(file.get("path")) for file in files] or [str(worker_config.get("entry") or "")]
    return sum(_size(os.path.join(home, name)) for name in names)


def misfit(name: str, needed: int, free: int, *, measured: bool = False) -> Failure | None:
    """The failure of a model that does not fit, with both numbers; None when it does or nothing is known."""
    how = " (measured)" if measured else ""
    if not needed or not free or needed <= free:
        return None
    message = (
        f'model "{name}" does not fit: needs {_gib(needed)}{how}, free {_gib(free)}; unload another model, '
        "or give the replica more memory"
    )
    return Failure(UNFIT, message)


def _meminfo(path: str) -> int:
    for line in _text(path).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _group(root: str) -> int:
    """What the control group of this process may still use; page cache that can go counts as free."""
    group = os.path.join(root, "sys/fs/cgroup")
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            group = os.path.join(group, line[3:].strip("/"))
    limit = _text(os.path.join(group, "memory.max")).strip()
    if not limit.isdigit():
        return _UNLIMITED
    used = int(_text(os.path.join(group, "memory.current")) or 0)
    cached = [line.split() for line in _text(os.path.join(group, "memory.stat")).splitlines()]
    reclaimable = sum(int(words[1]) for words in cached if words[0] == "inactive_file")
    return max(0, int(limit) - used + reclaimable)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if os.path.isfile(path) else 0
    except OSError:
        return 0


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 29 else f"{size / (1 << 20):.1f} MiB"
