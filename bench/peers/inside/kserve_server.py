"""KServe: the shared models behind its Model class; `kserve_server.py PORT GRPC_PORT`."""

from __future__ import annotations

import sys
from typing import Any

from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response

from bench.peers.inside import compute


class Served(Model):
    """What its built-in runtimes do: its helpers read the input and write the answer."""

    def __init__(self) -> None:
        super().__init__("m")
        self._predict, self._narrow = compute.chosen()
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """One prediction, on the event loop as theirs are."""
        assert isinstance(payload, InferRequest | dict)
        rows = get_predict_input(payload)
        answer = self._predict(rows.astype("float32") if self._narrow else rows)
        response: InferResponse | dict[str, Any] = get_predict_response(payload, answer, "m")
        return response


if __name__ == "__main__":
    http, grpc = map(int, sys.argv[1:3])
    ModelServer(http_port=http, grpc_port=grpc, enable_grpc=True, workers=1).start([Served()])
