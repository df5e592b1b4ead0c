"""What Triton's unmodified clients make of a server: `interop_triton.py HTTP GRPC MODEL` prints JSON.

The server has a classifier of four FP64 features named `input`. `HTTP` and
`GRPC` are `host:port`.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from bench.peers.inside.outcomes import PATIENCE_SECONDS, ROW, Surprise, outcome, predicted, true


def triton_http_calls(address: str, model: str) -> dict[str, Callable[[], Any]]:
    """What users of tritonclient.http do."""
    client = triton_http.InferenceServerClient(address, network_timeout=PATIENCE_SECONDS)

    def infer(*, binary: bool, wanted: bool = True, **more: Any) -> None:
        given = triton_http.InferInput("input", ROW.shape, "FP64")
        given.set_data_from_numpy(ROW, binary_data=binary)
        name = _first_output(client, model)
        outputs = (
            None if binary or not wanted else [triton_http.InferRequestedOutput(name, binary_data=False)]
        )
        answer = client.infer(model, [given], outputs=outputs, **more)
        predicted(answer.as_numpy(answer.get_response()["outputs"][0]["name"]))

    def told() -> None:
        metadata = client.get_model_metadata(model)
        absent = [key for key in ("inputs", "outputs", "versions") if not metadata.get(key)]
        if absent:
            raise Surprise(f"empty: {', '.join(absent)}")

    return {
        "tritonclient.http live, ready, metadata": lambda: (
            true(client.is_server_live()),
            true(client.is_server_ready()),
            true(client.is_model_ready(model)),
            client.get_server_metadata(),
            client.get_model_metadata(model),
        ),
        "… model metadata is filled": told,
        "… get_model_repository_index": lambda: true(client.get_model_repository_index()),
        "… get_inference_statistics": lambda: client.get_inference_statistics(model)["model_stats"][0],
        "… get_model_config": lambda: client.get_model_config(model)["name"],
        "… infer, binary in and out": lambda: infer(binary=True),
        "… infer, JSON in and out": lambda: infer(binary=False),
        "… infer, gzip": lambda: infer(
            binary=True, request_compression_algorithm="gzip", response_compression_algorithm="gzip"
        ),
        '… infer, version "1"': lambda: infer(binary=True, model_version="1"),
    }


def triton_grpc_calls(address: str, model: str) -> dict[str, Callable[[], Any]]:
    """What users of tritonclient.grpc do."""
    client = triton_grpc.InferenceServerClient(address)

    def infer() -> None:
        given = triton_grpc.InferInput("input", ROW.shape, "FP64")
        given.set_data_from_numpy(ROW)
        answer = client.infer(model, [given], client_timeout=PATIENCE_SECONDS)
        predicted(answer.as_numpy(answer.get_response().outputs[0].name))

    return {
        "tritonclient.grpc live, ready, metadata": lambda: (
            true(client.is_server_live(client_timeout=PATIENCE_SECONDS)),
            true(client.is_server_ready(client_timeout=PATIENCE_SECONDS)),
            client.get_model_metadata(model, client_timeout=PATIENCE_SECONDS),
        ),
        "… infer over gRPC": infer,
        "… index and config over gRPC": lambda: (
            client.get_model_repository_index(client_timeout=PATIENCE_SECONDS),
            client.get_model_config(model, client_timeout=PATIENCE_SECONDS),
        ),
    }


def mistakes(address: str, model: str) -> dict[str, Callable[[], int]]:
    """Requests that can never succeed; the status of their answers."""
    good = {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": ROW[0].tolist()}

    def post(body: bytes, name: str = model, **headers: str) -> Callable[[], int]:
        def call() -> int:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
            sent = {
                "content-type": "application/json",
                **{k.replace("_", "-"): v for k, v in headers.items()},
            }
            connection.request("POST", f"/v2/models/{name}/infer", body, sent)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status

        return call

    def ask(**changed: Any) -> Callable[[], int]:
        return post(json.dumps({"inputs": [{**good, **changed}]}).encode())

    right = json.dumps({"inputs": [good]}).encode()
    return {
        "3 values for shape [2,4]": ask(shape=[2, 4], data=[1.0, 2.0, 3.0]),
        "`inputs` missing": post(b"{}"),
        "wrong input name": ask(name="other"),
        "datatype `FLOAT`": ask(datatype="FLOAT"),
        "shape `[-1,4]`": ask(shape=[-1, 4]),
        "strings for FP64": ask(data=["a", "b", "c", "d"]),
        "unknown output asked for": post(
            json.dumps({"inputs": [good], "outputs": [{"name": "no"}]}).encode()
        ),
        "not JSON": post(b"{not json"),
        "header length beyond the body": post(right, inference_header_content_length="99999"),
        "empty body": post(b""),
        "unknown model": post(right, "no-such-model"),
    }


def _first_output(client: Any, model: str) -> str:
    outputs = client.get_model_metadata(model).get("outputs") or [{"name": "predict"}]
    return str(outputs[0]["name"])


if __name__ == "__main__":
    address, grpc_address, model = sys.argv[1:4]
    calls = {**triton_http_calls(address, model), **triton_grpc_calls(grpc_address, model)}
    found = {
        "calls": {name: outcome(call) for name, call in calls.items()},
        "mistakes": {name: outcome(call) for name, call in mistakes(address, model).items()},
    }
    print(json.dumps(found))
