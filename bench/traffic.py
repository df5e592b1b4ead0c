"""Whether requests are divided as weights say, copies are whole, and what a mirror that hangs costs."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from math import sqrt
from pathlib import Path

import httpx2

from bench import platform
from bench.http import infer_body
from bench.report import Table, add, measured
from modelyard import Client
from tests.support.load import Load
from tests.support.platform import Running

REQUESTS = 20_000
WEIGHTS = {"rival": 20, "third": 10}
RATE = 200
SECONDS = 8.0
_999 = 3.2905
"""Standard deviations that hold 99.9 % of a normal distribution."""
_SETTLED_SECONDS = 1.0
_FILLING_SECONDS = 2.0
_SIGNATURE = {
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}],
    "outputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}],
}
_HANGS = """import time


class Model:
    def predict(self, inputs):
        if inputs["input"][0, 0] == 7.25:
            time.sleep(1e6)
        return inputs
"""


async def measure(rounds: int) -> list[Table]:
    """Three tables: the split, the copies, and times to an answer beside a mirror that hangs."""
    with platform.running() as running, platform.home() as directory:
        directory.mkdir(parents=True)
        with running.client() as client:
            token = _deployed(client, directory)
        return [
            await _split(running, token),
            await _copies(running, token),
            await _hanging(running, token, rounds),
        ]


def _deployed(client: Client, directory: Path) -> str:
    """The services; the token of `own`, which the others stand beside."""
    tokens = {}
    for name in ("own", *WEIGHTS, "hangs"):
        code = _HANGS if name == "hangs" else platform.IDENTITY
        source = directory / f"{name}.py"
        source.write_text(code)
        client.publish(str(source), name, signature=_SIGNATURE, format="python")
        more = {"queue_size": 100_000, "request_timeout_seconds": 3600.0} if name == "hangs" else {}
        tokens[name] = client.deploy(f"{name}@1", name=name, warmup="none", **more).token
    return str(tokens["own"])


def _load(running: Running, token: str, rate: float) -> Load:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    path = "/services/default/own/v2/models/own/infer"
    return Load(running.port, path, infer_body([7.25, 2.0, 3.0, 4.0]), headers, rate=rate)


async def _split(running: Running, token: str) -> Table:
    table = measured(f"{REQUESTS} requests divided", notes="The bound is the binomial 99.9 % interval.")
    await _set(running, "weights", WEIGHTS)
    before = await asyncio.to_thread(_answered, running)
    sent, failed = await _send(running, token, REQUESTS)
    after = await asyncio.to_thread(_answered, running)
    add(table, "requests that failed", [float(failed)], f"of {sent}", most=0)
    for name, percent in WEIGHTS.items():
        share = percent / 100
        bound = _999 * sqrt(sent * share * (1 - share))
        off = abs(after[name] - before[name] - sent * share)
        add(table, f"{name}, {percent} %: requests off what they should be", [off], "", most=round(bound, 1))
    return table


async def _copies(running: Running, token: str) -> Table:
    table = measured("Copies of every request to one mirror, of every fourth to another")
    await _set(running, "weights", {"rival": None, "third": None})
    await _set(running, "mirrors", [{"to": "rival", "percent": 100}, {"to": "third", "percent": 25}])
    sent, failed = await _send(running, token, REQUESTS // 4)
    with running.client() as client:
        copies = {mirror.to: mirror for mirror in client.endpoints.get("own").mirrors}
    add(table, "requests that failed", [float(failed)], f"of {sent}", most=0)
    for name, share in (("rival", 1.0), ("third", 0.25)):
        off = abs(copies[name].sent + copies[name].dropped - sent * share)
        bound = round(_999 * sqrt(sent * share * (1 - share)), 1)
        add(table, f"{name}: copies off what they should be", [off], f"of {sent * share:g}", most=bound)
        add(table, f"{name}: copies dropped", [float(copies[name].dropped)], "")
    return table


def _p99(latencies: list[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(latencies, n=100)[98] * 1e3


async def _hanging(running: Running, token: str, rounds: int) -> Table:
    """Over all rounds together, as the hundredth slowest of one round's answers are few.

    What fills a mirror's 64 places takes the first third of a second and is told apart.
    """
    table = measured(f"p99 at {RATE} requests/s, without a mirror and with one that hangs, in turns")
    found: dict[str, list[float]] = {"without": [], "with": []}
    pooled: dict[str, list[float]] = {"without": [], "with": []}
    filling: list[float] = []
    for _ in range(rounds):
        for what, mirrors in (("without", []), ("with", [{"to": "hangs", "percent": 100}])):
            await _set(running, "mirrors", mirrors)
            async with _load(running, token, RATE).running() as first:
                await asyncio.sleep(_FILLING_SECONDS)
            filling += first.latencies if mirrors else []
            async with _load(running, token, RATE).running() as outcome:
                await asyncio.sleep(SECONDS)
            found[what].append(outcome.quantile(0.99) * 1e3)
            pooled[what] += outcome.latencies
    add(table, "p99 while the mirror's places fill up", [_p99(filling)], "ms")
    for what, samples in found.items():
        add(table, f"p99 {what}", samples, "ms")
    for what, latencies in pooled.items():
        add(table, f"p99 {what}, all rounds together", [_p99(latencies)], "ms")
    ratio = _p99(pooled["with"]) / _p99(pooled["without"])
    add(table, "p99 with by p99 without, all rounds together", [ratio], "", most=1.02)
    return table


async def _send(running: Running, token: str, count: int) -> tuple[int, int]:
    """Send about so many requests at a rate that is borne; how many there were, and how many failed."""
    async with _load(running, token, RATE * 3).running() as outcome:
        while outcome.total < count:
            await asyncio.sleep(0.05)
    return outcome.total, outcome.failed


async def _set(running: Running, field: str, value: object) -> None:
    def patched() -> None:
        with running.client() as client:
            client.endpoints.patch("own", {field: value})

    await asyncio.to_thread(patched)
    await asyncio.sleep(_SETTLED_SECONDS)


def _answered(running: Running) -> Counter[str]:
    """Service to how many predictions its replicas have answered, as they say themselves."""
    found: Counter[str] = Counter()
    with running.client() as client:
        headers = {"authorization": f"Bearer {client.connection.token}"}
    for name in WEIGHTS:
        url = f"{running.url}/services/default/{name}/v2/models/{name}/stats"
        said = httpx2.get(url, headers=headers, trust_env=False).raise_for_status().json()
        found[name] = sum(int(each["inference_count"]) for each in said["model_stats"])
    return found
