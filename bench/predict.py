"""Requests a second and latency of a replica, direct and through the gateway, beside a bare FastAPI floor."""

from __future__ import annotations

import contextlib
import json
import pickle
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import http, platform, processes
from bench.report import Table
from tests.support.platform import Running, free_port

CONNECTIONS = (1, 16, 64)
_SECONDS = 2.0
_FLOOR = "FastAPI floor"
_TITLES = {
    "identity": "identity, Python model",
    "iris": "logistic regression, 4 features, compiled variant",
    "iris-original": "logistic regression, 4 features, original",
    "forest": "random forest, 100 trees, compiled variant",
    "forest-original": "random forest, 100 trees, original",
}
_COLUMNS = ("server", "c", "req/s", "lowest to highest", "x floor", "p50 ms", "p99 ms", "CPU µs/request")


async def measure(rounds: int) -> list[Table]:
    """One table for each model; servers take turns within a round, so that ratios hold on a busy machine."""
    model, x, _ = platform.iris()
    forest, rows = platform.forest()
    with platform.running() as running, running.client() as client, platform.home() as directory:
        directory.mkdir(parents=True)
        source, pickled = directory / "model.py", directory / "iris.pickle"
        source.write_text(platform.IDENTITY)
        pickled.write_bytes(pickle.dumps(model))
        trees = directory / "forest.pickle"
        trees.write_bytes(pickle.dumps(forest))
        client.publish(source, "identity", format="python", signature=platform.IDENTITY_SIGNATURE)
        client.publish(model, "iris", x_test=x)
        client.publish(forest, "forest", x_test=rows)
        tokens = {name: client.deploy(name, name=name).token for name in ("identity", "iris", "forest")}
        for name in ("iris", "forest"):
            original = f"{name}-original"
            tokens[original] = client.deploy(name, name=original, variant="original").token
        identity = http.infer_body([1.0, 2.0, 3.0, 4.0], datatype="FP32")
        iris = http.infer_body(x[0].tolist())
        row = http.infer_body(rows[0].tolist())
        return [
            _compared(running, "identity", identity, tokens, None, rounds),
            _compared(running, "iris", iris, tokens, pickled, rounds),
            _compared(running, "iris-original", iris, tokens, pickled, rounds),
            _compared(running, "forest", row, tokens, trees, rounds),
            _compared(running, "forest-original", row, tokens, trees, rounds),
        ]


def _compared(
    running: Running, name: str, body: bytes, tokens: dict[str, str], pickled: Path | None, rounds: int
) -> Table:
    path = f"/v2/models/{name}/infer"
    with _floor(name, pickled) as floor, _replica(running, name) as direct:
        front = platform.front(running, name)
        gateway = [platform.envoy(running), front, *front.children()]
        servers = {
            _FLOOR: (http.Question(floor[0], path, body), [floor[1]]),
            "replica, direct": (
                http.Question(direct[0], path, body),
                [direct[1], *direct[1].children()],
            ),
            "replica, through the gateway": (
                http.Question(running.port, f"/services/default/{name}{path}", body, tokens[name]),
                gateway,
            ),
        }
        found = _flooded(servers, rounds)
    table = Table(f"Predict: {_TITLES[name]}, one row of JSON, load by {http.tool()}", _COLUMNS)
    for (server, connections), floods in found.items():
        _add(table, server, connections, floods, found[_FLOOR, connections])
    return table


Floods = list[tuple[http.Flood, float]]
Servers = dict[str, tuple[http.Question, list[psutil.Process]]]


def _flooded(servers: Servers, rounds: int) -> dict[tuple[str, int], Floods]:
    """Floods of every server, by server and connections, each with the processor seconds it cost."""
    found: dict[tuple[str, int], Floods] = {(s, c): [] for c in CONNECTIONS for s in servers}
    for question, _ in servers.values():
        http.flood(question, connections=4, seconds=1.0)
    for _ in range(rounds):
        for server, connections in found:
            question, running = servers[server]
            before = sum(map(processes.cpu, running))
            flood = http.flood(question, connections=connections, seconds=_SECONDS)
            found[server, connections].append((flood, sum(map(processes.cpu, running)) - before))
    return found


def _add(table: Table, server: str, connections: int, floods: Floods, floor: Floods) -> None:
    rates = [flood.per_second for flood, _ in floods]
    ratios = [flood.per_second / base.per_second for (flood, _), (base, _) in zip(floods, floor, strict=True)]
    failed = sum(flood.failed for flood, _ in floods)
    cost = statistics.median(seconds / flood.requests * 1e6 for flood, seconds in floods)
    half = statistics.median(flood.p50_seconds for flood, _ in floods) * 1e3
    late = statistics.median(flood.p99_seconds for flood, _ in floods) * 1e3
    rate, ratio = statistics.median(rates), statistics.median(ratios)
    note = f" ({failed} failed)" if failed else ""
    spread = f"{min(rates):.0f} to {max(rates):.0f}"
    shown = (f"{number:.2f}" for number in (ratio, half, late))
    table.rows.append((server, str(connections), f"{rate:.0f}{note}", spread, *shown, f"{cost:.0f}"))
    table.numbers[f"{server}, c={connections}"] = {
        "per_second": rates,
        "ratio": ratios,
        "p50_ms": half,
        "p99_ms": late,
        "cpu_us": cost,
        "failed": failed,
    }


@contextlib.contextmanager
def _floor(kind: str, pickled: Path | None) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    more = [str(pickled)] if pickled else []
    with _started([sys.executable, "-m", "bench.floor", kind, str(port), *more], port) as process:
        yield port, process


@contextlib.contextmanager
def _replica(running: Running, name: str) -> Iterator[tuple[int, psutil.Process]]:
    """A twin of the service's replica that listens on a port of its own."""
    config = next((running.home / "replicas" / "replicas" / "default" / name).glob("*/replica.json"))
    document = json.loads(config.read_text())
    port = free_port()
    with platform.home() as directory:
        directory.mkdir(parents=True)
        twin = {**document, "listen": f"127.0.0.1:{port}", "state_path": str(directory / "state.json")}
        (directory / "replica.json").write_text(json.dumps(twin))
        command = [sys.executable, "-m", "modelyard.serving", "--config", str(directory / "replica.json")]
        with _started(command, port) as process:
            while json.loads((directory / "state.json").read_text())["phase"] != "ready":
                time.sleep(0.05)
            yield port, process


@contextlib.contextmanager
def _started(command: list[str], port: int) -> Iterator[psutil.Process]:
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not _listens(port):
            if child.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
