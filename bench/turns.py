"""What a request costs the front and the worker without sockets: bytes in, bytes out, one turn after another.

`python -m bench.turns [http|grpc] [CONNECTIONS]` prints microseconds and calls of functions for one request.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import thread_time
from typing import Any

import uvloop

from bench.h2_load import Caller
from bench.http import Question, _raw, infer_body
from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.sockless import Wire, World

ROW = (1.5, 2.25, 3.125, 4.0)
TURNS = 400


class Http:
    """A client that asks the same again and again."""

    def __init__(self, connections: int) -> None:
        self._questions = [
            _raw(Question(1, "/v2/models/m/infer", infer_body(ROW, datatype="FP32")))
        ] * connections

    def questions(self, answers: list[bytes]) -> list[bytes]:
        """What each connection says next."""
        if not all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers):
            raise RuntimeError(answers[0].decode("latin-1"))
        return self._questions


class Grpc:
    """Connections of one call at a time each."""

    def __init__(self, connections: int) -> None:
        message = pb.ModelInferRequest(model_name="m", raw_input_contents=[struct.pack("<4f", *ROW)])
        message.inputs.add(name="input", datatype="FP32", shape=[1, 4])
        self._callers = [Caller("h", message.SerializeToString(), 1) for _ in range(connections)]
        self._wires = [Wire() for _ in range(connections)]
        for caller, wire in zip(self._callers, self._wires, strict=True):
            caller.connection_made(wire)  # type: ignore[arg-type]

    def questions(self, answers: list[bytes]) -> list[bytes]:
        """What each connection says next."""
        for caller, answer in zip(self._callers, answers, strict=True):
            if answer:
                caller.data_received(answer)
        if any(caller.failed for caller in self._callers):
            raise RuntimeError(repr(answers[0]))
        return [wire.taken() for wire in self._wires]


async def measure(kind: str, connections: int, batching: str) -> dict[str, float]:
    """Microseconds and calls for one request."""
    client: Any = Http(connections) if kind == "http" else Grpc(connections)
    with tempfile.TemporaryDirectory() as home:
        world = World(Path(home), connections, batch={"mode": batching})
        answers = [b"HTTP/1.1 200 "] * connections if kind == "http" else [b""] * connections
        best: dict[str, float] = {"front": float("inf"), "worker": float("inf")}
        for _ in range(5):
            took = world.guest.seconds = 0.0
            for _ in range(TURNS):
                questions = client.questions(answers)
                began = thread_time()
                answers = await world.turn(questions)
                took += thread_time() - began
            for name, seconds in (("front", took - world.guest.seconds), ("worker", world.guest.seconds)):
                best[name] = min(best[name], seconds / TURNS / connections * 1e6)
        questions = client.questions(answers)
        counts: Counter[str] = Counter()
        sys.setprofile(lambda frame, event, what: counts.update((_called(frame, event, what),)))
        await world.turn(questions)
        sys.setprofile(None)
        world.close()
    best["calls"] = sum(count for name, count in counts.items() if name) / connections
    if "-v" in sys.argv:
        for name, count in counts.most_common(70):
            print(f"{count / connections:8.2f} {name}")
    return best


def _called(frame: Any, event: str, what: Any) -> str:
    if event == "call":
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"
    return f"C {getattr(what, '__qualname__', what)}" if event == "c_call" else ""


def main() -> int:
    """Measure what the arguments name."""
    given = [each for each in sys.argv[1:] if each != "-v"]
    kind = given[0] if given else "http"
    connections = int(given[1]) if len(given) > 1 else 64
    for batching in ("auto", "off"):
        found = uvloop.run(measure(kind, connections, batching))
        print(
            f"{kind}, {connections} connections, batching {batching}:",
            *(f"{n} {v:.1f}" for n, v in found.items()),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
