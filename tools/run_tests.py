"""Run every layer of tests that this machine can run, and say which were skipped and why."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """Some test directories that run together."""

    name: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    minutes: int = 15
    patient: bool = False
    """Whether it has no processes that must keep time: it runs beside those that have, and gives way."""


PODS = (
    "tests/kubernetes/test_contract.py",
    "tests/kubernetes/test_model_files.py",
    "tests/kubernetes/test_pods.py",
    "tests/kubernetes/test_runtimes.py",
    "tests/kubernetes/test_shared_cache.py",
    "tests/kubernetes/test_tasks.py",
)
"""Tests of a cluster whose pods are processes."""
ROOT = Path(__file__).parents[1]
E2E = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests/e2e").rglob("test_*.py"))]
FRAMEWORKS = Layer("frameworks", ("tests/frameworks",))
LAYERS = (
    Layer("domain", ("tests/domain", "tests/oip", "tests/server"), patient=True),
    Layer("rooms", ("tests/store", "tests/artifacts", "tests/formats", "tests/control"), patient=True),
    Layer("cluster", ("tests/cluster",), patient=True),
    Layer("simulation", ("tests/simulation",), patient=True),
    Layer("kubernetes", ("tests/kubernetes",), tuple(f"--ignore={path}" for path in PODS), 40, patient=True),
    Layer("faces", ("tests/api", "tests/client", "tests/cli", "tests/docs"), patient=True),
    Layer("inference", ("tests/worker", "tests/serving")),
    Layer("processes", ("tests/gateway", "tests/backends")),
    Layer("pods", (*PODS, "tests/fetch")),
    Layer("scenarios", ("tests/scenarios",), minutes=25),
    # In halves, so that one row does not wait long for the other.
    Layer("end to end, first half", tuple(E2E[::2]), minutes=20),
    Layer("end to end, second half", tuple(E2E[1::2]), minutes=20),
    FRAMEWORKS,
)
_TELLING = ("____", ">", "E  ", "FAILED ", "ERROR ")
"""How pytest's lines begin that name a test, its failing statement and the error."""
_LINES = 60
_GIVES_WAY = ("nice", "-n", "10")


@dataclass(frozen=True)
class Told:
    """What became of a layer, and what it printed."""

    name: str
    passed: bool
    words: str

    def shortly(self) -> str:
        """Which tests failed, where and why: for the end of an output of which people see the end."""
        telling = [line for line in self.words.splitlines() if line.startswith(_TELLING)]
        return "\n".join((f"== {self.name}, what failed", *telling[-_LINES:]))


def reasons_to_skip() -> dict[str, str]:
    """Layers that cannot run here, with the reason."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        why = "Envoy's wheel and the process tests need Linux on x86-64"
        anywhere = ("domain", "rooms", "cluster", "simulation", "faces")
        return {layer.name: why for layer in LAYERS if layer.name not in anywhere}
    return {}


def missing_frameworks() -> str:
    """Why PyTorch, Keras and TensorFlow cannot be installed for their tests; empty when they are there."""
    command = [*_GIVES_WAY, sys.executable, "-m", "tests.support.frameworks"]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if made.returncode == 0 else (made.stdout.strip() or made.stderr[-500:])


def run(layer: Layer) -> Told:
    """Run one layer, and print what it said in one piece."""
    started = time.monotonic()
    before = _GIVES_WAY if layer.patient else ()
    command = [*before, sys.executable, "-m", "pytest", *layer.options, *layer.paths, *sys.argv[1:]]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            code = subprocess.run(
                command, check=False, timeout=layer.minutes * 60, env=_environment(), cwd=ROOT,
                stdout=said, stderr=subprocess.STDOUT,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code, late = 1, f"== {layer.name}: not done after {layer.minutes} minutes\n"
            said.seek(0, os.SEEK_END)
            said.write(late)
        said.seek(0)
        words = said.read()
    verdict = "ok" if code == 0 else "FAILED"
    seconds = time.monotonic() - started
    print(f"== {layer.name}\n{words}== {layer.name}: {verdict} in {seconds:.0f} s", flush=True)
    return Told(layer.name, code == 0, words)


def main() -> int:
    """Run the layers in two rows side by side; 0 when all that can run pass."""
    skipped = reasons_to_skip()
    wanted = [layer for layer in LAYERS if layer.name not in skipped and layer is not FRAMEWORKS]
    patient = deque(layer for layer in wanted if layer.patient)
    prompt = deque(layer for layer in wanted if not layer.patient)
    with ThreadPoolExecutor(3) as pool:
        lacking = None if FRAMEWORKS.name in skipped else pool.submit(_offered, FRAMEWORKS, patient)
        # Whoever has done with its own takes what the other has not begun, from its end.
        rows = [pool.submit(_row, prompt, patient), pool.submit(_row, patient, prompt)]
        failures = [told for row in rows for told in row.result()]
    if lacking is not None and lacking.result():
        skipped[FRAMEWORKS.name] = lacking.result()
    failures += _row(patient, prompt)  # what was offered when both rows had done already
    failed = [told.name for told in failures]
    for told in failures:
        print(told.shortly())
    for name, why in skipped.items():
        print(f"== {name}: SKIPPED: {why}")
    print(f"{len(LAYERS) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    if skipped and os.environ.get("CI"):
        failed += list(skipped)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


def _offered(layer: Layer, row: deque[Layer]) -> str:
    """Put the frameworks' tests into a row once they are installed; why they are not."""
    lacking = missing_frameworks()
    if not lacking:
        row.append(layer)
    return lacking


def _row(own: deque[Layer], others: deque[Layer]) -> list[Told]:
    """Run layers one after another; what those said that failed."""
    failed = []
    while own or others:
        try:
            layer = own.popleft() if own else others.pop()
        except IndexError:  # the other row was quicker
            continue
        told = run(layer)
        if not told.passed:
            failed.append(told)
    return failed


def _environment() -> dict[str, str]:
    """Nothing of a user's own installation may leak into the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}


if __name__ == "__main__":
    sys.exit(main())
