"""How long until the platform answers, until the demo predicts, and from a fitted model to an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import psutil

from bench import platform, processes
from bench.report import Table, add, measured
from tests.support.platform import Running

_DEMO_SECONDS = 180.0
_FIRST = "first prediction"
COMMANDS = (("status",), ("--help",), ("model", "list"))


async def measure(rounds: int) -> list[Table]:
    """Three tables: the platform, the demo, and publish to first prediction with the command line."""
    return [_front_door(rounds), _demo(max(2, rounds // 2)), _publish(rounds)]


def _front_door(rounds: int) -> Table:
    table = measured("Start: `modelyard up` until the front door answers")
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        with platform.home() as home:
            for which in ("first", "second"):
                running = Running(home)
                began = time.perf_counter()
                running.start()
                _note(taken, f"{which} start", time.perf_counter() - began)
                assert running.process is not None
                control = psutil.Process(running.process.pid)
                _note(taken, f"{which} start, processor time", processes.cpu(control))
                began = time.perf_counter()
                running.interrupt()
                _note(taken, f"stop after the {which}", time.perf_counter() - began)
                running.stop()
    for what, samples in taken.items():
        add(table, what, samples, "s")
    return table


def _demo(rounds: int) -> Table:
    table = measured("Demo: start until its first prediction, and until all of it is done")
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        with platform.home() as home:
            for which in ("first", "second"):
                running = Running(home, flags=("--demo",))
                try:
                    prediction, done = _watched(running)
                finally:
                    running.stop()
                _note(taken, f"{which} start, first prediction", prediction)
                _note(taken, f"{which} start, all three models", done)
    for what, samples in taken.items():
        most = 8.0 if what == "second start, first prediction" else None
        add(table, what, samples, "s", most=most)
    return table


def _watched(running: Running) -> tuple[float, float]:
    """Seconds from the start of the process to the demo's first prediction and to its end."""
    command = [sys.executable, "-m", "modelyard", "up", "--port", str(running.port), *running.flags]
    began = time.perf_counter()
    running.process = subprocess.Popen(
        command, env=running.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert running.process.stderr is not None
    prediction, said = 0.0, []
    for line in running.process.stderr:
        said.append(line.decode())
        if _FIRST in said[-1]:
            prediction = time.perf_counter() - began
        if "demo: done" in said[-1]:
            running.process.send_signal(signal.SIGINT)
            return prediction, time.perf_counter() - began
        if "demo: failed" in said[-1] or time.perf_counter() - began > _DEMO_SECONDS:
            break
    raise RuntimeError(f"the demo failed: {''.join(said)}")


def _publish(rounds: int) -> Table:
    table = measured("From a fitted scikit-learn model to its first answer, and the command line")
    taken: dict[str, list[float]] = {}
    model, x, _ = platform.iris()
    with platform.running() as running, running.client() as client:
        for number in range(rounds):
            name = f"iris-{number}"
            marks = [time.perf_counter()]
            version = client.publish(model, name, x_test=x)
            marks.append(time.perf_counter())
            service = client.deploy(version.ref, name=name)
            marks.append(time.perf_counter())
            service.predict(x[:1])
            marks.append(time.perf_counter())
            for what, (one, two) in zip(("publish", "deploy", "predict"), pairwise(marks), strict=True):
                _note(taken, what, two - one)
            _note(taken, "publish to first prediction", marks[-1] - marks[0])
            client.undeploy(name)
        for arguments in COMMANDS * rounds:
            spent = processes.run([sys.executable, "-m", "modelyard", *arguments], running.environ)
            _note(taken, f"`modelyard {' '.join(arguments)}`", spent.wall_seconds)
            _note(taken, f"`modelyard {' '.join(arguments)}`, processor time", spent.cpu_seconds)
    for what, samples in taken.items():
        add(table, what, samples, "s", most=0.5 if what == "`modelyard status`" else None)
    table.notes = f"Bytecode is {'not ' if os.environ.get('PYTHONDONTWRITEBYTECODE') else ''}written."
    return table


def _note(taken: dict[str, list[float]], what: str, seconds: float) -> None:
    taken.setdefault(what, []).append(seconds)
