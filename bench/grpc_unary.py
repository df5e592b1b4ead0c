"""Unary gRPC calls a second: a replica with a model in a process of its own beside a bare grpc.aio server."""

from __future__ import annotations

import contextlib
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import processes
from bench.report import Table
from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.replicas import replica
from tests.support.platform import free_port

SHAPES = ((1, 1), (16, 1), (4, 16))
"""Connections, and calls under way on each."""
_SECONDS = 2.0
_FLOOR = "grpc.aio"
_COLUMNS = ("server", "c", "calls/s", "lowest to highest", "x grpc.aio", "p50 ms", "p99 ms", "CPU µs/call")

Sample = dict[str, float]
Server = tuple[str, list[psutil.Process]]


async def measure(rounds: int) -> list[Table]:
    """One table; servers take turns within a round, so that ratios hold on a busy machine."""
    with replica(listen="tcp") as running, _floor() as floor, tempfile.TemporaryDirectory() as directory:
        message = Path(directory) / "message"
        message.write_bytes(_message())
        front = psutil.Process(running.process.pid)
        servers: dict[str, Server] = {
            _FLOOR: floor,
            "replica": (f"127.0.0.1:{running.port}", [front, *front.children()]),
        }
        found = _measured(servers, message, rounds)
    table = Table("gRPC: ModelInfer, identity, one row of four FP64", _COLUMNS)
    for (server, shape), samples in found.items():
        _add(table, server, shape, samples, found[_FLOOR, shape])
    return [table]


def _message() -> bytes:
    message = pb.ModelInferRequest(model_name="echo", raw_input_contents=[struct.pack("<4d", 1, 2, 3, 4)])
    message.inputs.add(name="input", datatype="FP64", shape=[1, 4])
    return message.SerializeToString()


def _measured(
    servers: dict[str, Server], message: Path, rounds: int
) -> dict[tuple[str, tuple[int, int]], list[Sample]]:
    found: dict[tuple[str, tuple[int, int]], list[Sample]] = {(n, s): [] for s in SHAPES for n in servers}
    for _ in range(rounds):
        for (name, shape), samples in found.items():
            address, running = servers[name]
            before = sum(map(processes.cpu, running))
            sample = _flood(address, shape, message)
            spent = sum(map(processes.cpu, running)) - before
            samples.append({**sample, "cpu_us": spent / max(1.0, sample["all_calls"]) * 1e6})
    return found


def _flood(address: str, shape: tuple[int, int], message: Path) -> Sample:
    connections, streams = map(str, shape)
    command = [
        sys.executable,
        "-m",
        "bench.h2_load",
        address,
        connections,
        streams,
        str(_SECONDS),
        str(message),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    sample: Sample = json.loads(done.stdout)
    return sample


def _add(
    table: Table, server: str, shape: tuple[int, int], samples: list[Sample], floor: list[Sample]
) -> None:
    rates = [sample["rate"] for sample in samples]
    ratios = [ours["rate"] / theirs["rate"] for ours, theirs in zip(samples, floor, strict=True)]
    middle = {name: statistics.median(s[name] for s in samples) for name in ("p50_ms", "p99_ms", "cpu_us")}
    failed = int(sum(sample["failed"] for sample in samples))
    rate = f"{statistics.median(rates):.0f}" + (f" ({failed} failed)" if failed else "")
    spread = f"{min(rates):.0f} to {max(rates):.0f}"
    shown = (f"{value:.2f}" for value in (statistics.median(ratios), middle["p50_ms"], middle["p99_ms"]))
    c = f"{shape[0]}x{shape[1]}"
    table.rows.append((server, c, rate, spread, *shown, f"{middle['cpu_us']:.0f}"))
    table.numbers[f"{server}, c={c}"] = {"per_second": rates, "ratio": ratios, **middle, "failed": failed}


@contextlib.contextmanager
def _floor() -> Iterator[Server]:
    port = free_port()
    child = subprocess.Popen([sys.executable, "-m", "bench.grpc_floor", str(port)])
    try:
        time.sleep(2.0)
        yield f"127.0.0.1:{port}", [psutil.Process(child.pid)]
    finally:
        child.terminate()
        child.wait(30)
