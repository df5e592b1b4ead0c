"""What this machine offers: processors, memory and GPUs, within the limits that hold for this process."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from modelyard.domain import quantity
from modelyard.domain.node import Gpu, Node

T = TypeVar("T")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the owner of the machine gives to Modelyard; None means what there is."""

    cpu_millis: int | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    """How many; beyond those that were found they are taken on the owner's word."""


def discover(capacity: Capacity | None = None) -> Node:
    """This machine as a node. Never raises for want of a GPU driver."""
    given = capacity or Capacity()
    return Node(
        name=platform.node() or "localhost",
        cpu_millis=_cpu_millis() if given.cpu_millis is None else given.cpu_millis,
        memory_bytes=_memory_bytes() if given.memory_bytes is None else given.memory_bytes,
        gpus=_chosen(_gpus(), given.gpus),
        enforcement="watched",
    )


def gpu_ratios() -> dict[int, float]:
    """GPU to the part of its time in which it computes now; empty when the driver does not say."""
    return dict(
        _each_gpu(lambda nvml, i: (i, nvml.nvmlDeviceGetUtilizationRates(_handle(nvml, i)).gpu / 100))
    )


def gpu_processes() -> dict[int, tuple[str, ...]]:
    """GPU to the processes that hold it, such as `python 4711 (2.1Gi)`; empty when nobody says."""
    return dict(_each_gpu(lambda nvml, i: (i, _holders(nvml, i))))


def _holders(nvml: Any, index: int) -> tuple[str, ...]:
    running = nvml.nvmlDeviceGetComputeRunningProcesses(_handle(nvml, index))
    return tuple(
        f"{_program(each.pid)} {each.pid} ({quantity.format_memory(each.usedGpuMemory or 0)})"
        for each in running
    )


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "process"


def _cpu_millis() -> int:
    cores = len(os.sched_getaffinity(0)) or psutil.cpu_count() or 1
    return min([cores * 1000, *_cpu_limits()])


def _cpu_limits() -> list[int]:
    """Thousandths of cores that control groups grant, version 2 and 1."""
    pairs = [_words(path / "cpu.max") for path in _own_groups("")]
    pairs += [
        [*_words(path / "cpu.cfs_quota_us"), *_words(path / "cpu.cfs_period_us")]
        for path in _own_groups("cpu")
    ]
    numbers = [(_number(pair[0]), _number(pair[1])) for pair in pairs if len(pair) == 2]
    return [max(1, quota * 1000 // period) for quota, period in numbers if quota > 0 and period > 0]


def _memory_bytes() -> int:
    limits = [_words(path / "memory.max") for path in _own_groups("")]
    limits += [_words(path / "memory.limit_in_bytes") for path in _own_groups("memory")]
    granted = [number for words in limits if words and (number := _number(words[0])) > 0]
    return min([int(psutil.virtual_memory().total), *granted])


def _own_groups(controller: str) -> list[Path]:
    """Directories of the control groups this process is in, up to the root; `` is version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    mounts = [_CGROUPS / controller] if controller else [_CGROUPS, _CGROUPS / "unified"]
    groups = [line.split(":", 2) for line in lines]
    paths = [path for _, names, path in groups if controller in names.split(",")]
    found: list[Path] = []
    for path in paths:
        parts = Path(path.lstrip("/")).parts
        found += [mount.joinpath(*parts[:depth]) for mount in mounts for depth in range(len(parts) + 1)]
    return found


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(word: str) -> int:
    """The limit, or 0 for none."""
    return int(word) if word.isdigit() else 0


def _chosen(found: tuple[Gpu, ...], count: int | None) -> tuple[Gpu, ...]:
    if count is None:
        return found
    declared = tuple(Gpu(index=index, name="declared", memory_bytes=0) for index in range(len(found), count))
    return (found + declared)[: max(0, count)]


def _gpus() -> tuple[Gpu, ...]:
    """GPUs of the NVIDIA driver."""
    return _each_gpu(_gpu)


def _each_gpu(ask: Callable[[Any, int], T]) -> tuple[T, ...]:
    """What the NVIDIA driver says of each GPU; nothing when there is no driver or it does not answer."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(ask(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def _handle(nvml: Any, index: int) -> Any:
    return nvml.nvmlDeviceGetHandleByIndex(index)


def _gpu(nvml: Any, index: int) -> Gpu:
    device = _handle(nvml, index)
    name = nvml.nvmlDeviceGetName(device)
    memory = nvml.nvmlDeviceGetMemoryInfo(device).total
    text = name.decode() if isinstance(name, bytes) else str(name)
    return Gpu(index=index, name=text, memory_bytes=int(memory))
