"""What kserve.InferenceGRPCClient does."""

from __future__ import annotations

import asyncio

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

from tests.serving.clients.checks import checks_of, run

ROW = np.array([[1.5, 2.0, 3.0]])


def check_health(address: str) -> None:
    async def main() -> None:
        client = InferenceGRPCClient(address)
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("echo")
        await client.close()

    asyncio.run(main())


def check_infer_raw_and_typed(address: str) -> None:
    async def main() -> None:
        client = InferenceGRPCClient(address)
        for binary in (True, False):
            given = InferInput(name="input", shape=[1, 3], datatype="FP64")
            given.set_data_from_numpy(ROW, binary_data=binary)
            request = InferRequest(model_name="echo", infer_inputs=[given], request_id="r")
            answer = await client.infer(infer_request=request)
            assert (answer.outputs[0].as_numpy() == ROW).all()
            assert answer.id == "r"
        await client.close()

    asyncio.run(main())


if __name__ == "__main__":
    run(checks_of(globals()))
