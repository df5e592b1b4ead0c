"""What is asked: one model and one request for each workload, in every form that a server may want."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

WIDTH = {"logistic": 4, "forest": 4, "boosting": 50, "identity": 4}
IMAGE = (1, 3, 224, 224)


@dataclass(frozen=True, slots=True)
class Workload:
    """A model, and what it is asked."""

    name: str
    title: str
    model: str
    connections: int
    shape: tuple[int, ...]
    binary: bool = False

    @property
    def datatype(self) -> str:
        """Of the input."""
        return "FP32" if self.model in ("identity", "cnn") else "FP64"

    @property
    def rows(self) -> np.ndarray:
        """The input; numbers of four digits, as people send them."""
        rng = np.random.default_rng(7)
        values = np.round(rng.uniform(0.1, 7.9, self.shape), 4)
        return values.astype(np.float32 if self.datatype == "FP32" else np.float64)


WORKLOADS = {
    each.name: each
    for each in (
        Workload("identity", "identity, one row of JSON", "identity", 64, (1, 4)),
        Workload("logistic", "logistic regression, 4 features", "logistic", 16, (1, 4)),
        Workload("forest", "random forest, 100 trees", "forest", 16, (1, 4)),
        Workload("boosting", "gradient boosting, 50 features", "boosting", 16, (1, 50)),
        Workload("boosting-100", "gradient boosting, batch 100", "boosting", 16, (100, 50)),
        Workload("cnn", "MobileNetV2 in ONNX, 602 KB binary", "cnn", 8, IMAGE, binary=True),
        Workload("identity-600k", "identity, 602 KB binary", "identity", 16, IMAGE, binary=True),
    )
}


def v2_json(work: Workload, *, more: dict[str, object] | None = None) -> bytes:
    """The Open Inference Protocol in JSON."""
    data = [float(f"{value:.6g}") for value in work.rows.ravel()]
    tensor = {"name": "input", "shape": list(work.shape), "datatype": work.datatype, "data": data}
    return json.dumps({"inputs": [tensor], **(more or {})}).encode()


def v2_binary(work: Workload) -> tuple[bytes, int]:
    """The protocol's binary extension, both ways; the body, and the length of its JSON."""
    raw = work.rows.tobytes()
    tensor = {"name": "input", "shape": list(work.shape), "datatype": work.datatype}
    tensor = {**tensor, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, len(head)


def plain(work: Workload, key: str) -> bytes:
    """Rows under a key, as servers with a form of their own take them."""
    return json.dumps({key: work.rows.astype(float).round(4).tolist()}).encode()
