"""Triton's Python backend: the shared models, one request of a batch after the other."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

# The backend sets the path itself.
sys.path[:0] = os.environ["BENCH_PATH"].split(":")

pb = importlib.import_module("triton_python_backend_utils")
np = importlib.import_module("numpy")
compute = importlib.import_module("bench.peers.inside.compute")


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        del args
        self._predict, _ = compute.chosen()

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for every request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        rows = pb.get_input_tensor_by_name(request, "input").as_numpy()
        answer = np.asarray(self._predict(rows))
        return pb.InferenceResponse([pb.Tensor("output", answer)])
