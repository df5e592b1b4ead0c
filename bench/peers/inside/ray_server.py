"""Ray Serve: the shared models behind one deployment; `ray_server.py PORT`."""

from __future__ import annotations

import signal
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from bench.peers.inside import compute


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Served:
    """One replica."""

    def __init__(self) -> None:
        self._predict, self._narrow = compute.chosen()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One prediction from the protocol's JSON."""
        given = (await request.json())["inputs"][0]
        rows = np.array(given["data"], np.float32 if self._narrow else np.float64).reshape(given["shape"])
        return {"model_name": "m", "outputs": [compute.tensor(self._predict(rows))]}


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Served.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
