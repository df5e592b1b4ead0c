"""LitServe: the shared models behind its API class; `litserve_server.py PORT`."""

import sys
from typing import Any

import litserve
import numpy as np

from bench.peers.inside import compute


class Served(litserve.LitAPI):  # type: ignore[misc]
    """The four steps that it asks for."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self._compute, self._narrow = compute.chosen()

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def] # an annotation would change the wire
        """Rows of a request in the protocol's JSON."""
        given = request["inputs"][0]
        return np.array(given["data"], np.float32 if self._narrow else np.float64).reshape(given["shape"])

    def predict(self, x: Any) -> Any:
        """One prediction."""
        return self._compute(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer in the protocol's JSON."""
        return {"model_name": "m", "outputs": [compute.tensor(output)]}


if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
