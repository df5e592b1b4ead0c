"""Triton's extensions over REST, asked by Triton's own client where it can."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import shared_memory

from tests.serving.replicas import Replica, replica
from tests.serving.served import TABLE, TABLE_CODE

EXTENSIONS = {
    "classification",
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "generate",
}
ROWS = np.array([[1.0, 2.0, 3.0], [5.0, 1.0, 0.5]])


@pytest.fixture
def client(table: Replica) -> Iterator[Any]:
    client = triton.InferenceServerClient(f"127.0.0.1:{table.port}")
    yield client
    client.unregister_system_shared_memory()
    client.close()


def given(values: Any = ROWS) -> Any:
    tensor = triton.InferInput("input", list(values.shape), "FP64")
    tensor.set_data_from_numpy(values)
    return tensor


def test_the_server_promises_what_it_has_and_no_more(client: Any) -> None:
    assert set(client.get_server_metadata()["extensions"]) == EXTENSIONS


def test_the_configuration_leaves_the_batch_out_of_dims(client: Any) -> None:
    for version in ("", "3"):
        config = client.get_model_config("table", version)
        assert config["max_batch_size"] > 0
        (taken,) = config["input"]
        assert (taken["name"], taken["data_type"], taken["dims"]) == ("input", "TYPE_FP64", [3])
        label, scores = config["output"]
        assert (label["data_type"], label["dims"], label["reshape"]) == ("TYPE_INT64", [1], {"shape": []})
        assert (scores["dims"], "reshape" in scores) == ([3], False)


def test_statistics_count_what_was_asked_and_where_its_time_went() -> None:
    with replica(code=TABLE_CODE, signature=TABLE, service="table", listen="tcp") as running:
        client = triton.InferenceServerClient(f"127.0.0.1:{running.port}")
        for values in (ROWS, ROWS, ROWS[:1]):
            client.infer("table", [given(values)])
        wrong = triton.InferInput("other", [1], "FP64")
        wrong.set_data_from_numpy(np.zeros(1))
        with pytest.raises(triton.InferenceServerException):
            client.infer("table", [wrong])
        (found,) = client.get_inference_statistics()["model_stats"]
        assert [found] == client.get_inference_statistics("table", "3")["model_stats"]
        assert (found["name"], found["version"]) == ("table", "3")
        assert (found["inference_count"], found["execution_count"]) == (5, 3)
        stages = found["inference_stats"]
        assert {name: stages[name]["count"] for name in stages} == {
            "success": 3,
            "fail": 1,
            "queue": 3,
            "compute_input": 3,
            "compute_infer": 3,
            "compute_output": 3,
            "cache_hit": 0,
            "cache_miss": 0,
        }
        parts = sum(stages[f"{name}"]["ns"] for name in ("queue", "compute_input", "compute_infer"))
        assert 0 < parts <= stages["success"]["ns"]
        assert [batch["batch_size"] for batch in found["batch_stats"]] == [1, 2]
        assert [batch["compute_infer"]["count"] for batch in found["batch_stats"]] == [1, 2]
        assert found["last_inference"] > 1_700_000_000_000
        client.close()


def test_a_model_called_stats_keeps_its_path() -> None:
    with replica(service="stats") as running:
        assert running.call("GET", "/v2/models/stats").json["name"] == "stats"
        (found,) = running.call("GET", "/v2/models/stats/stats").json["model_stats"]
        assert found["name"] == "stats"


def test_classification_gives_the_highest_values_with_their_labels(client: Any) -> None:
    for binary in (True, False):
        wished = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
        answer = client.infer("table", [given()], outputs=[wished]).as_numpy("probabilities")
        assert answer.shape == (2, 2)
        texts = [[_text(element) for element in row] for row in answer]
        assert texts == [["4.000000:1:y", "2.000000:2:z"], ["5.000000:0:x", "2.000000:1:y"]]


def _text(element: Any) -> str:
    return element.decode() if isinstance(element, bytes) else str(element)


class Segment:
    """A POSIX shared memory object of a test."""

    def __init__(self, size: int) -> None:
        self.key = f"/my-test-{uuid4().hex}"
        self.handle = shared_memory.create_shared_memory_region(self.key, self.key, size)

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *error: object) -> None:
        shared_memory.destroy_shared_memory_region(self.handle)


def test_tensors_go_in_and_out_through_shared_memory(client: Any) -> None:
    size = ROWS.nbytes
    with Segment(size + 8) as inputs, Segment(size * 2) as outputs:
        shared_memory.set_shared_memory_region(inputs.handle, [np.zeros(1), ROWS])
        client.register_system_shared_memory("in", inputs.key, size, offset=8)
        client.register_system_shared_memory("out", outputs.key, size * 2)
        assert client.get_system_shared_memory_status("in") == [
            {"name": "in", "key": inputs.key, "offset": 8, "byte_size": size}
        ]
        assert len(client.get_system_shared_memory_status()) == 2
        assert client.get_cuda_shared_memory_status() == []
        tensor = triton.InferInput("input", [2, 3], "FP64")
        tensor.set_shared_memory("in", size)
        wished = triton.InferRequestedOutput("probabilities")
        wished.set_shared_memory("out", size, offset=size)
        answer = client.infer("table", [tensor], outputs=[wished])
        described = answer.get_output("probabilities")
        assert described["parameters"]["shared_memory_byte_size"] == size
        read = shared_memory.get_contents_as_numpy(outputs.handle, "float64", [2, 2, 3])[1]
        assert read.tolist() == [[1.0, 4.0, 2.0], [5.0, 2.0, -4.5]]
        client.unregister_system_shared_memory("in")
        with pytest.raises(triton.InferenceServerException, match="unable to find shared memory region"):
            client.infer("table", [tensor])
        client.unregister_system_shared_memory()
        assert client.get_system_shared_memory_status() == []


def test_shared_memory_that_is_not_there_or_too_small_is_refused(table: Replica, client: Any) -> None:
    register = "/v2/systemsharedmemory/region/r/register"
    with Segment(64) as segment:
        for body, words in (
            ({"key": segment.key, "byte_size": 65}, "beyond"),
            ({"key": segment.key, "byte_size": 64, "offset": 1}, "beyond"),
            ({"key": segment.key, "byte_size": -1}, "expected a number of bytes"),
            ({"key": segment.key}, "expected a number of bytes"),
            ({"key": "/no-such-segment-here", "byte_size": 1}, "is it there"),
            ({"key": 5, "byte_size": 1}, "expected text"),
            ({}, "expected text"),
            ([], "expected an object"),
        ):
            answer = table.call("POST", register, json.dumps(body))
            assert (answer.status, words in answer.json["error"]) == (400, True), answer.body
        client.register_system_shared_memory("r", segment.key, 48)
        with pytest.raises(triton.InferenceServerException, match="registered already"):
            client.register_system_shared_memory("r", segment.key, 48)
        for part in ({"shared_memory_byte_size": 56}, {"shared_memory_byte_size": 24}, {}):
            where = {"shared_memory_region": "r", **part}
            tensor = {"name": "input", "shape": [2, 3], "datatype": "FP64", "parameters": where}
            answer = table.call("POST", "/v2/models/table/infer", json.dumps({"inputs": [tensor]}))
            assert answer.status == 400, part
        small = triton.InferRequestedOutput("probabilities")
        small.set_shared_memory("r", 40)
        with pytest.raises(triton.InferenceServerException, match="the output has 48 bytes"):
            client.infer("table", [given()], outputs=[small])
        # Memory that its owner takes away later must not hurt the server.
        os.truncate(f"/dev/shm{segment.key}", 8)
        tensor = triton.InferInput("input", [2, 3], "FP64")
        tensor.set_shared_memory("r", 48)
        with pytest.raises(triton.InferenceServerException, match="has become smaller"):
            client.infer("table", [tensor])
        assert table.call("GET", "/livez").status == 200


@pytest.mark.parametrize(
    "key", ["/../etc/passwd", "../x", "/a/b", "", "/", "/..", "a\0b", "/sem.x", "x" * 300]
)
def test_keys_cannot_leave_the_directory_of_shared_memory(table: Replica, key: str) -> None:
    body = json.dumps({"key": key, "byte_size": 1})
    answer = table.call("POST", "/v2/systemsharedmemory/region/r/register", body)
    assert (answer.status, answer.json["path"]) == (400, "key")


def test_links_and_other_kinds_of_files_are_no_shared_memory(table: Replica) -> None:
    name = f"my-link-{uuid4().hex}"
    os.symlink("/etc/hostname", f"/dev/shm/{name}")
    os.mkfifo(f"/dev/shm/{name}-fifo")
    try:
        for key in (name, f"{name}-fifo"):
            body = json.dumps({"key": f"/{key}", "byte_size": 1})
            answer = table.call("POST", "/v2/systemsharedmemory/region/r/register", body)
            assert answer.status == 400, answer.body
    finally:
        os.unlink(f"/dev/shm/{name}")
        os.unlink(f"/dev/shm/{name}-fifo")


def test_cuda_memory_is_refused_clearly(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="CUDA shared memory is not offered"):
        client.register_cuda_shared_memory("c", b"aGk=", 0, 10)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"config": "{}"}, "a model is loaded as it was published"),
        ({"file:1/model.onnx": "AAAA"}, "a model is loaded as it was published"),
        ({"other": 1}, "is not known"),
        ([], "expected an object"),
    ],
)
def test_a_load_with_another_configuration_is_refused(table: Replica, parameters: Any, words: str) -> None:
    body = json.dumps({"parameters": parameters} if parameters else {"parameters": [1]})
    answer = table.call("POST", "/v2/repository/models/table/load", body)
    assert (answer.status, words in answer.json["error"]) == (400, True)


def test_tritons_client_unloads_and_loads() -> None:
    with replica(listen="tcp", model_control=True) as running:
        client = triton.InferenceServerClient(f"127.0.0.1:{running.port}")
        client.unload_model("echo", unload_dependents=True)
        assert not client.is_model_ready("echo")
        client.load_model("echo")
        assert client.is_model_ready("echo")
        with pytest.raises(triton.InferenceServerException, match="loaded as it was published"):
            client.load_model("echo", config="{}")
        client.close()


def bytes_request(content_type: str, *elements: str) -> str:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [len(elements)], "data": list(elements)}
    return json.dumps({"inputs": [tensor | {"parameters": {"content_type": content_type}}]})


@pytest.mark.parametrize(
    ("content_type", "element", "read"),
    [
        ("str", "héllo", "HÉLLO"),
        ("np", "abc", "ABC"),
        ("base64", "aGVsbG8=", "HELLO"),
        ("datetime", "2026-01-02t03:04:05", "2026-01-02T03:04:05"),
    ],
)
def test_content_types_say_what_elements_mean(
    shouter: Replica, content_type: str, element: str, read: str
) -> None:
    answer = shouter.call("POST", "/v2/models/shouter/infer", bytes_request(content_type, element))
    assert answer.status == 200, answer.body
    assert answer.json["outputs"][0]["data"] == [read]
    whole = json.loads(bytes_request(content_type, element)) | {"parameters": {"content_type": content_type}}
    del whole["inputs"][0]["parameters"]
    answer = shouter.call("POST", "/v2/models/shouter/infer", json.dumps(whole))
    assert answer.json["outputs"][0]["data"] == [read]


@pytest.mark.parametrize(("content_type", "element"), [("base64", "a?"), ("datetime", "yesterday")])
def test_elements_that_are_not_what_they_say_are_named(
    shouter: Replica, content_type: str, element: str
) -> None:
    body = bytes_request(content_type, "MjAyNg==" if content_type == "base64" else "2026-01-02", element)
    answer = shouter.call("POST", "/v2/models/shouter/infer", body)
    assert (answer.status, answer.json["path"]) == (400, "inputs[0].data[1]")


def test_generate_takes_and_gives_plain_values(shouter: Replica) -> None:
    body = {"id": "7", "text_input": "hello", "parameters": {"temperature": 0.5}}
    answer = shouter.call("POST", "/v2/models/shouter/generate", json.dumps(body))
    expected = {"id": "7", "model_name": "shouter", "model_version": "3", "text_output": "HELLO"}
    assert (answer.status, answer.json) == (200, expected)
    body = {"text_input": ["a", "b"]}
    answer = shouter.call("POST", "/v2/models/shouter/versions/3/generate", json.dumps(body))
    assert answer.json["text_output"] == ["A", "B"]


def test_tensors_go_out_as_events(table: Replica) -> None:
    values = {"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}
    body: dict[str, Any] = {"id": "9", "inputs": [values], "outputs": [{"name": "probabilities"}]}
    answer = table.call("POST", "/v2/models/table/infer_stream", json.dumps(body))
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = json.loads(answer.body.removeprefix(b"data: "))
    assert (found["id"], found["outputs"][0]["data"]) == ("9", [1.0, 4.0, 2.0])
    body["parameters"] = {"binary_data_output": True}
    refused = table.call("POST", "/v2/models/table/infer_stream", json.dumps(body))
    assert (refused.status, refused.json["path"]) == (400, "outputs")


def test_generate_stream_sends_events(shouter: Replica) -> None:
    path = "/v2/models/shouter/generate_stream"
    answer = shouter.call("POST", path, '{"text_input": "hello"}')
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-request-id"]
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"}\n\n")
    assert json.loads(answer.body.removeprefix(b"data: "))["text_output"] == "HELLO"


def test_a_table_in_columns_is_checked_each_time() -> None:
    signature = {"inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 1], "columns": ["a"]}]}
    with replica(signature=signature) as running:

        def asked(value: str) -> int:
            column = f'{{"name": "a", "datatype": "INT64", "shape": [1], "data": [{value}]}}'
            body = f'{{"parameters": {{"content_type": "pd"}}, "inputs": [{column}]}}'
            return running.call("POST", "/v2/models/echo/infer", body).status

        assert [asked(value) for value in ("1", "2", "1.5", '"x"')] == [200, 200, 400, 400]


def test_a_deployment_offers_no_shared_memory_unless_told_to() -> None:
    with replica(shared_memory=False) as running:
        asked = {"key": "/of_somebody_else", "byte_size": 8}
        refused = running.call("POST", "/v2/systemsharedmemory/region/mine/register", json.dumps(asked))
        assert (refused.status, "limits.shared_memory" in refused.json["error"]) == (403, True)
        assert "system_shared_memory" not in running.call("GET", "/v2").json["extensions"]
        assert running.call("GET", "/v2/systemsharedmemory/status").json == []
