"""The bare floor: the same model behind FastAPI on uvicorn, `python -m bench.floor KIND PORT [MODEL]`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    """An input or output."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class Request(BaseModel):
    """An inference request."""

    inputs: list[Tensor]


def create(kind: str, model: Any) -> FastAPI:
    """An application that answers one model the way a FastAPI tutorial would."""
    app = FastAPI()

    @app.post("/v2/models/{name}/infer")
    def infer(name: str, request: Request) -> dict[str, Any]:
        tensor = request.inputs[0]
        rows = np.array(tensor.data).reshape(tensor.shape)
        return {"model_name": name, "outputs": answer(rows)}

    def answer(rows: Any) -> list[dict[str, Any]]:
        if kind == "identity":
            return [_tensor("input", "FP32", rows)]
        return [
            _tensor("label", "INT64", model.predict(rows)),
            _tensor("probabilities", "FP64", model.predict_proba(rows)),
        ]

    return app


def _tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": values.ravel().tolist()}


if __name__ == "__main__":
    loaded = pickle.loads(Path(sys.argv[3]).read_bytes()) if len(sys.argv) > 3 else None
    application = create(sys.argv[1], loaded)
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
