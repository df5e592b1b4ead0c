"""Asks a service, once or in floods: with wrk where it is installed, else with our own asyncio client."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.support.load import _exchange as exchange

_SCRIPT = """
local file = io.open("BODY", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
HEADERS
PACE
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "bad": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, bad + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of asking as fast as answers came."""

    per_second: float
    p50_seconds: float
    p99_seconds: float
    failed: int
    requests: int
    generator_cpu_seconds: float = 0.0
    """Processor time of the load generator itself."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request, to be repeated."""

    port: int
    path: str
    body: bytes
    token: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    """Headers beside those of JSON and the token."""

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        more = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return {"content-type": "application/json", **more, **self.more}


def tool() -> str:
    """The program that floods."""
    return "wrk" if shutil.which("wrk") else "own asyncio client"


def flood(question: Question, *, connections: int, seconds: float, pause_ms: float = 0) -> Flood:
    """Ask over so many connections, each as fast as it is answered, or after a random pause."""
    if shutil.which("wrk"):
        return _wrk(question, connections, seconds, pause_ms)
    began = time.process_time()
    found = asyncio.run(_own(question, connections, seconds, pause_ms))
    return replace(found, generator_cpu_seconds=time.process_time() - began)


def infer_body(row: Sequence[float], *, datatype: str = "FP64") -> bytes:
    """An inference request of one row."""
    tensor = {"name": "input", "datatype": datatype, "shape": [1, len(row)], "data": list(row)}
    return json.dumps({"inputs": [tensor]}).encode()


class Caller:
    """Asks a service once at a time over a new connection each."""

    def __init__(self, port: int, prefix: str, name: str, token: str) -> None:
        self._question = Question(port, f"{prefix}/v2/models/{name}/infer", b"", token)

    async def status(self, body: bytes) -> int:
        """The status of one answer; 0 when there was none."""
        question = Question(self._question.port, self._question.path, body, self._question.token)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", question.port)
            status, _ = await exchange(reader, writer, _raw(question))
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            return 0
        return status


def _wrk(question: Question, connections: int, seconds: float, pause_ms: float) -> Flood:
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in question.headers.items())
    pace = f"function delay() return math.random(0, {round(2 * pause_ms)}) end" if pause_ms else ""
    url = f"http://127.0.0.1:{question.port}{question.path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file, tempfile.NamedTemporaryFile() as body:
        body.write(question.body)
        body.flush()
        file.write(_SCRIPT.replace("BODY", body.name).replace("HEADERS", headers).replace("PACE", pace))
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        before = _children_cpu()
        said = subprocess.run(
            [*command, "-s", file.name, url], check=True, capture_output=True, text=True
        ).stdout
        spent = _children_cpu() - before
    found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    rate = found["requests"] / found["seconds"]
    return Flood(rate, found["p50"], found["p99"], found["bad"], found["requests"], spent)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def _own(question: Question, connections: int, seconds: float, pause_ms: float) -> Flood:
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    raw = _raw(question)
    failed = 0

    async def ask() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", question.port)
        while (began := time.perf_counter()) < until:
            status, keep = await exchange(reader, writer, raw)
            latencies.append(time.perf_counter() - began)
            failed += status != 200
            if not keep:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", question.port)
            if pause_ms:
                await asyncio.sleep(random.uniform(0, 2 * pause_ms) / 1e3)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    ranked = sorted(latencies)
    middle, late = ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.99)]
    return Flood(len(ranked) / seconds, middle, late, failed, len(ranked))


def _raw(question: Question) -> bytes:
    lines = [f"POST {question.path} HTTP/1.1", f"host: 127.0.0.1:{question.port}"]
    lines += [f"{name}: {value}" for name, value in question.headers.items()]
    lines += [f"content-length: {len(question.body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + question.body
