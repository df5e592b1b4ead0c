"""What tritonclient.grpc does: synchronous, with callbacks, in coroutines, in streams."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.serving.clients.checks import checks_of, run

ROW = np.array([[1.5, 2.0, 3.0]])


def _input(array: np.ndarray = ROW, name: str = "input", datatype: str = "FP64") -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def _client(address: str, **more: object) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(address, **more)


def _error(call: Callable[[], object]) -> InferenceServerException:
    try:
        call()
    except InferenceServerException as error:
        return error
    raise AssertionError("there was no error")


def check_health_and_metadata(address: str) -> None:
    client = _client(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "3")
    assert client.get_server_metadata().name == "modelyard"
    assert client.get_server_metadata(as_json=True)["extensions"]
    told = client.get_model_metadata("echo", as_json=True)
    assert told["inputs"] == [{"name": "input", "datatype": "FP64", "shape": ["-1", "-1"]}]


def check_repository_index(address: str) -> None:
    (entry,) = _client(address).get_model_repository_index().models
    assert (entry.name, entry.version, entry.state) == ("echo", "3", "READY")


def check_infer(address: str) -> None:
    answer = _client(address).infer("echo", [_input()], request_id="mine", model_version="3")
    assert (answer.as_numpy("output") == ROW).all()
    assert answer.get_response().id == "mine"


def check_requested_outputs(address: str) -> None:
    client = _client(address)
    answer = client.infer("echo", [_input()], outputs=[triton.InferRequestedOutput("output")])
    assert (answer.as_numpy("output") == ROW).all()
    wanted = [triton.InferRequestedOutput("nope")]
    error = _error(lambda: client.infer("echo", [_input()], outputs=wanted))
    assert 'unknown output "nope"' in error.message()
    assert error.status() == "StatusCode.INVALID_ARGUMENT"


def check_errors(address: str) -> None:
    client = _client(address)
    for call, status in (
        (lambda: client.infer("nope", [_input()]), "NOT_FOUND"),
        (lambda: client.get_model_metadata("nope"), "NOT_FOUND"),
        (lambda: client.infer("echo", [_input(ROW.astype(np.float32), datatype="FP32")]), "INVALID_ARGUMENT"),
        (lambda: client.get_trace_settings(), "UNIMPLEMENTED"),
        (lambda: client.get_log_settings(), "UNIMPLEMENTED"),
        (lambda: client.get_cuda_shared_memory_status(), "UNIMPLEMENTED"),
    ):
        assert _error(call).status() == f"StatusCode.{status}"


def check_compression(address: str) -> None:
    for kind in ("gzip", "deflate"):
        answer = _client(address).infer("echo", [_input()], compression_algorithm=kind)
        assert (answer.as_numpy("output") == ROW).all()


def check_client_timeout(address: str) -> None:
    answer = _client(address).infer("echo", [_input()], client_timeout=5, timeout=5_000_000)
    assert (answer.as_numpy("output") == ROW).all()


def check_priorities_sequences_and_headers_are_taken(address: str) -> None:
    answer = _client(address).infer(
        "echo", [_input()], priority=1, headers={"x-request-id": "a"}, parameters={"own": "x"}
    )
    assert (answer.as_numpy("output") == ROW).all()


def check_a_large_tensor(address: str) -> None:
    large = np.random.default_rng(1).random((4, 100_000))
    assert (_client(address).infer("echo", [_input(large)]).as_numpy("output") == large).all()


def check_callbacks(address: str) -> None:
    done: queue.Queue[object] = queue.Queue()
    client = _client(address)
    for _ in range(20):
        client.async_infer("echo", [_input()], callback=lambda result, error: done.put((result, error)))
    for _ in range(20):
        result, error = done.get(timeout=10)  # type: ignore[misc]
        assert error is None
        assert (result.as_numpy("output") == ROW).all()


def check_a_stream(address: str) -> None:
    done: queue.Queue[object] = queue.Queue()
    client = _client(address)
    client.start_stream(callback=lambda result, error: done.put((result, error)))
    for number in range(30):
        model = "nope" if number == 7 else "echo"
        client.async_stream_infer(model, [_input(ROW + number)], request_id=str(number))
    for number in range(30):
        result, error = done.get(timeout=10)  # type: ignore[misc]
        if number == 7:
            assert 'unknown model "nope"' in str(error)
        else:
            assert error is None
            assert (result.as_numpy("output") == ROW + number).all()
    client.stop_stream()


def check_a_stream_that_asks_for_the_last_response(address: str) -> None:
    done: queue.Queue[object] = queue.Queue()
    client = _client(address)
    client.start_stream(callback=lambda result, error: done.put((result, error)))
    client.async_stream_infer("echo", [_input()], enable_empty_final_response=True)
    seen = []
    while not seen or not seen[-1].get_response().parameters["triton_final_response"].bool_param:
        result, error = done.get(timeout=10)  # type: ignore[misc]
        assert error is None
        seen.append(result)
    assert (seen[0].as_numpy("output") == ROW).all()
    client.stop_stream()


def check_keepalive_options(address: str) -> None:
    options = triton.KeepAliveOptions(
        keepalive_time_ms=100,
        keepalive_timeout_ms=5000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    client = _client(address, keepalive_options=options)
    for _ in range(4):
        assert client.is_server_live()
        time.sleep(0.5)


def check_coroutines(address: str) -> None:
    async def main() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            answers = await asyncio.gather(*(client.infer("echo", [_input(ROW + n)]) for n in range(40)))
            for number, answer in enumerate(answers):
                assert (answer.as_numpy("output") == ROW + number).all()

            async def requests() -> object:
                for number in range(10):
                    yield {"model_name": "echo", "inputs": [_input(ROW + number)]}

            number = 0
            async for result, error in client.stream_infer(requests()):
                assert error is None
                assert (result.as_numpy("output") == ROW + number).all()
                number += 1
            assert number == 10

    asyncio.run(main())


if __name__ == "__main__":
    run(checks_of(globals()))
