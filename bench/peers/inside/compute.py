"""The models' computation, the same in every peer that lets its users write Python."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Predict = Callable[[Any], Any]


def chosen() -> tuple[Predict, bool]:
    """The model that the environment names, and whether its numbers are 32 bits wide."""
    kind = os.environ["BENCH_MODEL"]
    return load(kind, Path(os.environ["BENCH_MODELS"])), kind in ("identity", "cnn")


def load(kind: str, directory: Path) -> Predict:
    """A function from an array of rows to an array of answers; one thread computes."""
    if kind == "identity":
        return lambda rows: rows
    if kind in ("logistic", "forest"):
        model = importlib.import_module("joblib").load(directory / f"{kind}.joblib")
        return lambda rows: model.predict(rows)
    if kind == "boosting":
        booster = importlib.import_module("lightgbm").Booster(model_file=str(directory / "boosting.txt"))
        return lambda rows: booster.predict(rows, num_threads=1)
    return _session(directory / "cnn.onnx")


def _session(path: Path) -> Predict:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"input": image})[0]


def tensor(answer: Any) -> dict[str, Any]:
    """An answer as an output of the Open Inference Protocol, in JSON."""
    flat = np.asarray(answer)
    names = {"f": {4: "FP32", 8: "FP64"}, "i": {4: "INT32", 8: "INT64"}}
    return {
        "name": "output",
        "datatype": names[flat.dtype.kind][flat.dtype.itemsize],
        "shape": list(flat.shape),
        "data": flat.ravel().tolist(),
    }
