"""What `doctor gpu` asks of this machine: driver, library, cards, and which processes hold them."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from modelyard.backends.local import nodes

_DRIVER = Path("/proc/driver/nvidia/version")
_WITHOUT = "services without `--gpu` need none of this"


def checks() -> tuple[tuple[str, bool, str], ...]:
    """Each a name, whether it is well, and what was found or what to do."""
    return (_driver(), _library(), _tool(), _cards())


def _driver() -> tuple[str, bool, str]:
    try:
        return "driver", True, _DRIVER.read_text().splitlines()[0]
    except (OSError, IndexError):
        return "driver", False, f"none is loaded; install NVIDIA's driver for this kernel; {_WITHOUT}"


def _library() -> tuple[str, bool, str]:
    if importlib.util.find_spec("pynvml") is None:
        return "NVML", False, "nvidia-ml-py is missing; `pip install nvidia-ml-py`"
    return "NVML", True, "nvidia-ml-py is installed"


def _tool() -> tuple[str, bool, str]:
    found = shutil.which("nvidia-smi")
    return "nvidia-smi", bool(found), found or f"is not on the PATH; it comes with the driver; {_WITHOUT}"


def _cards() -> tuple[str, bool, str]:
    found = nodes.discover().gpus
    if not found:
        return (
            "cards",
            False,
            f"the driver shows none; in a container, start it with `--gpus all`; {_WITHOUT}",
        )
    held = nodes.gpu_processes()
    told = (
        f"{card.index}: {card.name}, "
        + (f"held by {', '.join(held[card.index])}" if held.get(card.index) else "free")
        for card in found
    )
    return "cards", True, "; ".join(told)
