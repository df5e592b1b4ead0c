"""A compiled variant in the front itself: no worker, the same answers, and a worker when it cannot be."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.serving.replicas import FP64, Answer, Replica, replica

REFUSES = {
    "nan": "ValueError: no NaN please",
    "large": "ValueError: too large",
    "empty": "ValueError: no rows",
}


def write(path: Path, *, repeat: int = 1, refuses: dict[str, str] | None = None) -> str:
    """A graph that multiplies by three, `repeat` times a matrix product heavy; its checksum."""
    unit = helper.make_tensor("unit", TensorProto.DOUBLE, [4, 4], np.eye(4).ravel())
    three = helper.make_tensor("three", TensorProto.DOUBLE, [], [3.0])
    names = ["input", *(f"m{at}" for at in range(repeat))]
    nodes = [helper.make_node("MatMul", [a, "unit"], [b]) for a, b in pairwise(names)]
    nodes.append(helper.make_node("Mul", [names[-1], "three"], ["output"]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, None]) for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [unit, three])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    about = model.metadata_props.add()
    about.key, about.value = "modelyard", json.dumps({"refuses": refuses or {}})
    onnx.save(model, str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inline(path: Path, **more: Any) -> dict[str, Any]:
    refuses = more.pop("refuses", None)
    repeat = more.pop("repeat", 1)
    known = {"path": str(path), "sha256": write(path, repeat=repeat, refuses=refuses), "row_seconds": 1e-6}
    return {"variant": "onnx", "inline": known | more}


def ask(running: Replica, rows: np.ndarray) -> Answer:
    tensor = {
        "name": "input", "shape": list(rows.shape), "datatype": "FP64",
        "parameters": {"binary_data_size": rows.nbytes},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    path = "/v2/models/echo/infer"
    return running.call("POST", path, head + np.ascontiguousarray(rows).tobytes(), headers)


def test_it_answers_without_a_worker(tmp_path: Path) -> None:
    with replica(**inline(tmp_path / "variant.onnx")) as running:
        assert running.state["workers"] == []
        assert (running.state["variant"], running.state["inline"]) == ("onnx", True)
        assert running.state["device"] == "ONNX Runtime device: CPU"
        answer = running.infer(1.0, 2.0, 3.0, 4.0)
        assert answer.status == 200
        assert answer.json["outputs"][0]["data"] == [3.0, 6.0, 9.0, 12.0]
        assert "modelyard_worker_up" in running.call("GET", "/metrics").body.decode()
        assert running.terminate() == 0


def test_it_refuses_what_the_model_refused(tmp_path: Path) -> None:
    with replica(**inline(tmp_path / "variant.onnx", refuses=REFUSES)) as running:
        for rows, text in (
            (np.full((2, 4), np.nan), "no NaN please"),
            (np.full((1, 4), 1e300), "too large"),
            (np.zeros((0, 4)), "no rows"),
        ):
            answer = ask(running, rows)
            assert answer.status == 400, answer
            assert answer.json["error"].endswith(f"the model refused the input: ValueError: {text}"), (
                answer.json
            )
        assert ask(running, np.full((1, 4), 1e30)).status == 200


def test_a_failing_session_costs_one_request(tmp_path: Path) -> None:
    with replica(**inline(tmp_path / "variant.onnx")) as running:
        answer = running.infer(1.0, 2.0, 3.0)  # the graph multiplies by a matrix of four rows
        assert answer.status == 500
        assert "the compiled variant failed" in answer.json["error"]
        assert running.infer(1.0, 2.0, 3.0, 4.0).status == 200


def test_large_batches_do_not_hold_up_probes(tmp_path: Path) -> None:
    rows = np.ones((100_000, 4))
    with (
        replica(
            **inline(tmp_path / "variant.onnx", repeat=200), limits={"max_body_bytes": 1 << 27}
        ) as running,
        ThreadPoolExecutor(3) as threads,
    ):
        large = [threads.submit(ask, running, rows) for _ in range(3)]
        meanwhile = 0
        while not all(each.done() for each in large):
            assert running.call("GET", "/v2/health/live").status == 200
            assert running.infer(1.0, 2.0, 3.0, 4.0).status == 200
            meanwhile += not all(each.done() for each in large)
        assert [each.result().status for each in large] == [200, 200, 200]
    assert meanwhile >= 5


@pytest.mark.parametrize("damage", ["other bytes", "gone", "no graph"])
def test_a_variant_that_cannot_be_loaded_here_leaves_the_model_to_a_worker(
    damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "variant.onnx"
    config = inline(path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"not a graph")
    if damage == "no graph":
        config["inline"]["sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    with replica(**config, signature=FP64) as running:
        assert running.state["inline"] is False
        assert len(running.state["workers"]) == 1
        assert running.infer(1.0, 2.0).json["outputs"][0]["data"] == [1.0, 2.0]
        assert "variant_not_inline" in running.log


def test_an_unloaded_variant_can_be_loaded_again(tmp_path: Path) -> None:
    with replica(**inline(tmp_path / "variant.onnx"), model_control=True) as running:
        assert running.call("POST", "/v2/repository/models/echo/unload").status == 200
        assert running.infer(1.0, 2.0, 3.0, 4.0).status == 503
        assert running.call("POST", "/v2/repository/models/echo/load").status == 200
        assert running.infer(1.0, 2.0, 3.0, 4.0).status == 200
