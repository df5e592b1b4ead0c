"""What `doctor gpu` asks of this machine: driver, library, cards, and which processes hold them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from modelyard.backends.local import nodes
from modelyard.domain import cards

_DRIVER = Path("/proc/driver/nvidia/version")
_MOST_WORDS = 300
_WITHOUT = "services without `--gpu` need none of this"


def checks() -> tuple[tuple[str, bool, str], ...]:
    """Each a name, whether it is well, and what was found or what to do."""
    return (_driver(), _library(), _tool(), _cards())


def smoke(seconds: float) -> tuple[str, bool, str]:
    """What a program of its own sees of the cards, as a replica would; ended when it takes too long."""
    command = " ".join(cards.LIST)
    try:
        done = subprocess.run(list(cards.LIST), capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError:
        return "smoke", False, f"nothing was tried: nvidia-smi is not on the PATH; {_WITHOUT}"
    except OSError as error:
        return "smoke", False, f"`{command}` cannot be started: {error}; {_WITHOUT}"
    except subprocess.TimeoutExpired:
        hung = "the driver hangs; see `dmesg` for Xid errors, and restart the machine"
        return "smoke", False, f"`{command}` had not ended after {seconds:g} s: {hung}"
    seen = cards.listed(done.stdout)
    if done.returncode or not seen:
        said = " ".join((done.stdout + done.stderr).split())[:_MOST_WORDS] or "nothing"
        remedy = "load the driver again, or restart the machine"
        return "smoke", False, f"`{command}` ended with {done.returncode} and printed: {said}; {remedy}"
    words = ", ".join(each.words for each in seen)
    known = [card.name for card in nodes.discover().gpus]
    if sorted(known) != sorted(each.name for each in seen):
        differs = f"but NVML tells {', '.join(known) or 'none'}; update nvidia-ml-py, or restart the platform"
        return "smoke", False, f"{words}, {differs}"
    return "smoke", True, words


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
