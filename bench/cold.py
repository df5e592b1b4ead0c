"""How long a service without replicas needs until its first one answers, stage by stage."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from bench import platform, processes
from bench.http import Caller, infer_body
from bench.report import Table, add, measured
from tests.support.platform import Running

_NAME = "iris"
_LOADED = """
import json, sys, time
begun = time.perf_counter()
import numpy
marks = {"numpy": time.perf_counter()}
sys.path.insert(0, sys.argv[1])
from modelyard_worker import loaders
from modelyard_worker.loaders import lean
lean.scikit_learn()
marks["scikit-learn"] = time.perf_counter()
loaders.load(json.load(open(sys.argv[2])))
marks["model"] = time.perf_counter()
print(json.dumps([marks["numpy"] - begun, marks["scikit-learn"] - marks["numpy"],
                  marks["model"] - marks["scikit-learn"], time.process_time()]))
"""


async def measure(rounds: int) -> list[Table]:
    """Cold starts of a scikit-learn replica whose runtime is ready."""
    table = measured("Cold start of a replica (scikit-learn, runtime ready), by stage")
    taken: dict[str, list[float]] = {}
    model, x, _ = platform.iris()
    with platform.running() as running, running.client() as client:
        version = client.publish(model, _NAME, x_test=x, optimize="off")
        service = client.deploy(version.ref, name=_NAME)
        caller = Caller(running.port, f"/services/default/{_NAME}", _NAME, service.token)
        for _ in range(rounds):
            client.deployments.scale(_NAME, 0)
            client.deployments.wait(_NAME)
            for what, seconds in (await _once(running, caller, infer_body(x[0].tolist()))).items():
                taken.setdefault(what, []).append(seconds)
            for what, seconds in _inside(running).items():
                taken.setdefault(what, []).append(seconds)
    most = {"asked until answered": 0.9}
    for what, samples in taken.items():
        add(table, what, samples, "s", most=most.get(what))
    table.notes = (
        "Asked is the call that scales from 0 to 1; the rows marked · are measured in a process that "
        "does only what the worker does to load."
    )
    return [table]


async def _once(running: Running, caller: Caller, body: bytes) -> dict[str, float]:
    asked = time.time()
    with running.client() as client:
        await asyncio.to_thread(client.deployments.scale, _NAME, 1)
    while await caller.status(body) != 200:
        await asyncio.sleep(0.01)
    answered = time.time()
    front = platform.front(running, _NAME)
    worker = front.children()[0]
    listening, ready = _moments(running)
    return {
        "asked until answered": answered - asked,
        "asked until the front's process": _born(front) - asked,
        "front's process until it listens (imports)": listening - _born(front),
        "front listens until the worker's process": _born(worker) - listening,
        "worker's process until ready (imports, load)": ready - _born(worker),
        "ready until answered through the gateway": answered - ready,
        "processor time of the front": processes.cpu(front),
        "processor time of the worker": processes.cpu(worker),
    }


def _born(process: psutil.Process) -> float:
    """When a process was made, as the kernel counted it after the boot (in hundredths of a second)."""
    ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - since


def _moments(running: Running) -> tuple[float, float]:
    """When the replica's front said that it listens and that its worker is ready."""
    with running.client() as client:
        replica = client.deployments.get(_NAME).status.replicas[0].name
    log = running.home / "replicas" / "logs" / "default" / _NAME / f"{replica}.log"
    said = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return _moment(said, "listening"), _moment(said, "worker_ready")


def _moment(said: list[dict[str, Any]], event: str) -> float:
    line = next(each for each in reversed(said) if each["event"] == event)
    return datetime.fromisoformat(line["ts"]).timestamp()


def _inside(running: Running) -> dict[str, float]:
    config = next((running.home / "replicas" / "replicas" / "default" / _NAME).glob("*/worker.json"))
    source = Path(__file__).parents[1] / "src"
    began = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-c", _LOADED, str(source), str(config)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    numpy, library, model, spent = json.loads(said.splitlines()[-1])
    return {
        "· numpy": numpy,
        "· scikit-learn": library,
        "· read the model, first prediction": model,
        "· processor time of all that": spent,
        "· wall time of all that": time.perf_counter() - began,
    }
