"""Run every layer of tests that this machine can run, and say which were skipped and why."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Some test directories that run together."""

    name: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    minutes: int = 10


LAYERS = (
    Layer("domain", ("tests/domain", "tests/oip", "tests/server")),
    Layer("rooms", ("tests/store", "tests/artifacts", "tests/formats", "tests/control", "tests/cluster")),
    Layer("inference", ("tests/worker", "tests/serving")),
    Layer("processes", ("tests/gateway", "tests/backends")),
    Layer("faces", ("tests/api", "tests/client", "tests/cli", "tests/docs")),
    Layer("simulation", ("tests/simulation",)),
    Layer("kubernetes", ("tests/kubernetes", "tests/fetch"), minutes=20),
    Layer("end to end", ("tests/e2e",), minutes=20),
    Layer("scenarios", ("tests/scenarios",), minutes=20),
    Layer("frameworks", ("tests/frameworks",), minutes=15),
)


def reasons_to_skip() -> dict[str, str]:
    """Layers that cannot run here, with the reason."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        why = "Envoy's wheel and the process tests need Linux on x86-64"
        return {"inference": why, "processes": why, "end to end": why, "frameworks": why} | {
            name: why for name in ("kubernetes", "scenarios")
        }
    why = _missing_frameworks()
    return {"frameworks": why} if why else {}


def _missing_frameworks() -> str:
    """Why PyTorch, Keras and TensorFlow cannot be installed for their tests; empty when they are there."""
    command = [sys.executable, "-m", "tests.support.frameworks"]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if made.returncode == 0 else (made.stdout.strip() or made.stderr[-500:])


def main() -> int:
    """Run the layers one after another; 0 when all that can run pass."""
    skipped = reasons_to_skip()
    failed = []
    for layer in LAYERS:
        if layer.name in skipped:
            continue
        print(f"== {layer.name}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", *layer.options, *layer.paths, *sys.argv[1:]]
        try:
            code = subprocess.run(
                command, check=False, timeout=layer.minutes * 60, env=_environment()
            ).returncode
        except subprocess.TimeoutExpired:
            print(f"== {layer.name}: not done after {layer.minutes} minutes", flush=True)
            code = 1
        print(
            f"== {layer.name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        if code != 0:
            failed.append(layer.name)
    for name, why in skipped.items():
        print(f"== {name}: SKIPPED: {why}")
    if skipped and os.environ.get("CI"):
        failed += list(skipped)
    print(f"{len(LAYERS) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return bool(failed)


def _environment() -> dict[str, str]:
    """Nothing of a user's own installation may leak into the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}


if __name__ == "__main__":
    sys.exit(main())
