"""What KServe's unmodified clients make of a server; called like `interop_triton.py`.

A program of its own, because these clients and Triton's cannot be imported into one process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

from bench.peers.inside.outcomes import PATIENCE_SECONDS, ROW, outcome, predicted, true


def kserve_calls(address: str, grpc_address: str, model: str) -> dict[str, Callable[[], Any]]:
    """What users of KServe's clients do."""
    url = f"http://{address}"
    settings = RESTConfig(protocol="v2", retries=0, timeout=PATIENCE_SECONDS)

    def rest(call: Callable[[InferenceRESTClient], Any]) -> Callable[[], Any]:
        async def run() -> Any:
            client = InferenceRESTClient(settings)
            try:
                return await call(client)
            finally:
                await client.close()

        return lambda: asyncio.run(run())

    def grpc(request: InferRequest) -> Callable[[], Any]:
        async def run() -> None:
            client = InferenceGRPCClient(grpc_address, timeout=PATIENCE_SECONDS)
            try:
                predicted((await client.infer(request)).outputs[0].as_numpy())
            finally:
                await client.close()

        return lambda: asyncio.run(run())

    async def truly(answer: Any) -> None:
        true(await answer)

    async def correct(answer: Any) -> None:
        predicted((await answer).outputs[0].as_numpy())

    return {
        "kserve REST is_server_live": rest(lambda c: truly(c.is_server_live(url))),
        "kserve REST is_server_ready": rest(lambda c: truly(c.is_server_ready(url))),
        "kserve REST infer, JSON": rest(
            lambda c: correct(c.infer(url, _request(model, binary=False), model_name=model))
        ),
        "kserve REST infer, binary": rest(
            lambda c: correct(c.infer(url, _request(model, binary=True), model_name=model))
        ),
        "kserve gRPC infer, typed contents": grpc(_request(model, binary=False)),
        "kserve gRPC infer, raw contents": grpc(_request(model, binary=True)),
    }


def _request(model: str, *, binary: bool) -> InferRequest:
    given = InferInput("input", list(ROW.shape), "FP64")
    given.set_data_from_numpy(ROW, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[given])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    calls = kserve_calls(*sys.argv[1:4])
    print(json.dumps({"calls": {name: outcome(call) for name, call in calls.items()}}))
