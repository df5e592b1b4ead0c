"""KServe's own client against a replica: argv is the host and port. Runs in the clients' environment."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(address: str) -> None:
    url = f"http://{address}"
    rows = np.array([[1.0, 2.0, 3.0], [5.0, 1.0, 0.5]])
    scores = [[1.0, 4.0, 2.0], [5.0, 2.0, -4.5]]
    new = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await new.is_server_live(url)
    assert await new.is_server_ready(url)
    assert await new.is_model_ready(url, "table")
    for binary in (True, False):
        tensor = InferInput("input", [2, 3], "FP64")
        tensor.set_data_from_numpy(rows, binary_data=binary)
        answer = await new.infer(
            url, InferRequest(model_name="table", infer_inputs=[tensor]), model_name="table"
        )
        label, probabilities = answer.outputs
        assert label.as_numpy().tolist() == [1, 0]
        assert probabilities.as_numpy().reshape(2, 3).tolist() == scores
    old = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await old.is_server_live(url)
    assert await old.is_model_ready(url, "table")
    answer = await old.infer(url, {"instances": rows.tolist()}, model_name="table")
    assert [row["probabilities"] for row in answer["predictions"]] == scores
    with pytest.raises(Exception, match="expected 3 values, got 2"):
        await old.infer(url, {"instances": [[1, 2]]}, model_name="table")
    print("kserve: ok")


asyncio.run(main(sys.argv[1]))
