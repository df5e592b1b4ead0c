"""The floor: the shared models behind FastAPI and uvicorn, as a tutorial writes it; `floor.py PORT`."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from bench.peers.inside import compute


class Tensor(BaseModel):
    """An input."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class Infer(BaseModel):
    """An inference request."""

    inputs: list[Tensor]


predict, narrow = compute.chosen()
application = FastAPI()


@application.post("/v2/models/m/infer")
async def infer(request: Infer) -> dict[str, Any]:
    """One row or many, in JSON; on the event loop, which is several times as fast as in threads."""
    given = request.inputs[0]
    rows = np.array(given.data, np.float32 if narrow else np.float64).reshape(given.shape)
    return {"model_name": "m", "outputs": [compute.tensor(predict(rows))]}


@application.post("/binary")
async def binary(request: Request) -> Response:
    """The protocol's binary extension, by hand."""
    body = await request.body()
    size = int(request.headers["inference-header-content-length"])
    shape = json.loads(body[:size])["inputs"][0]["shape"]
    answer = predict(np.frombuffer(body, np.float32, offset=size).reshape(shape))
    described = {"name": "output", "datatype": "FP32", "shape": list(answer.shape)}
    head = json.dumps({"outputs": [{**described, "parameters": {"binary_data_size": answer.nbytes}}]})
    headers = {"inference-header-content-length": str(len(head))}
    return Response(head.encode() + answer.tobytes(), headers=headers, media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
