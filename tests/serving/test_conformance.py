"""What clients of the Open Inference Protocol meet at a replica."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from tests.serving.replicas import SPAWNED, Replica, infer_body, replica, spawn


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/livez", {"live": True}),
        ("/healthz", {"live": True}),
        ("/readyz", {"live": True, "ready": True}),
        ("/ping", {"live": True, "ready": True}),
        ("/v2/models/echo/ready", {"name": "echo", "ready": True}),
        ("/v2/models/echo/versions/3/ready", {"name": "echo", "ready": True}),
    ],
)
def test_probes_answer_json(echo: Replica, path: str, expected: dict[str, Any]) -> None:
    answer = echo.call("GET", path)
    assert (answer.status, answer.headers["content-type"], answer.json) == (200, "application/json", expected)


def test_the_server_says_what_it_is_with_and_without_slash(echo: Replica) -> None:
    for path in ("/v2", "/v2/"):
        answer = echo.call("GET", path)
        assert answer.status == 200
        assert answer.json["name"] == "modelyard"
        assert set(answer.json) == {"name", "version", "extensions"}
        assert "binary_tensor_data" in answer.json["extensions"]


def test_metadata_has_every_field_and_no_null(echo: Replica) -> None:
    for name in ("echo", "echo-model"):
        for version in ("", "/versions/3"):
            answer = echo.call("GET", f"/v2/models/{name}{version}").json
            tensor = {"datatype": "FP64", "shape": [-1, -1]}
            assert answer == {
                "name": name,
                "versions": ["3"],
                "platform": "python",
                "inputs": [{"name": "input", **tensor}],
                "outputs": [{"name": "output", **tensor}],
            }


def test_a_stage_answers_to_its_service_with_and_without_stage(steady: Replica) -> None:
    for name in ("echo", "echo@test", "echo%40test", "echo-model"):
        answer = steady.call("POST", f"/v2/models/{name}/infer", infer_body(0, 1))
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("body", [None, "", "{}", '{"ready":true}'])
def test_the_repository_index_needs_no_body(echo: Replica, body: str | None) -> None:
    answer = echo.call("POST", "/v2/repository/index", body)
    assert answer.json == [{"name": "echo", "version": "3", "state": "READY"}]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v2/models/nope", 404, 'unknown model "nope"'),
        ("POST", "/v2/models/nope/infer", 404, 'unknown model "nope"'),
        ("GET", "/v2/models/echo/versions/9", 404, 'no version "9" here; this replica serves version "3"'),
        ("POST", "/v2/models/echo/versions/v3/infer", 404, 'no version "v3"'),
        ("GET", "/v2/models/echo/nothing", 404, "there is nothing at"),
        ("GET", "/v2/models/", 404, "there is nothing at"),
        ("GET", "/nothing", 404, "there is nothing at"),
        ("GET", "/../../etc/passwd", 404, "there is nothing at"),
        ("GET", "/v2/models/echo/infer", 405, "use POST"),
        ("GET", "/v2/repository/index", 405, "use POST"),
        ("POST", "/v2", 405, "use GET or HEAD"),
        ("DELETE", "/v2/models/echo", 405, "use GET or HEAD"),
    ],
)
def test_wrong_paths_and_verbs_say_so_in_json(
    echo: Replica, method: str, path: str, status: int, words: str
) -> None:
    answer = echo.call(method, path, "{}" if method == "POST" else None)
    assert answer.status == status
    assert words in answer.json["error"]
    assert answer.json["code"] == ("not_found" if status == 404 else "method_not_allowed")
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status == 405)


def test_queries_and_percent_signs_do_not_hide_a_path(echo: Replica) -> None:
    assert echo.call("GET", "/v2/models/%65cho?x=1").status == 200
    assert echo.call("HEAD", "/livez").body == b""


TENSOR = {"name": "input", "shape": [2, 4], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6, 7, 8]}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"inputs": [TENSOR | {"data": [1, 2, 3]}]}, {}),
        ({}, {}),
        ({"inputs": [TENSOR | {"name": "other"}]}, {}),
        ({"inputs": [TENSOR | {"datatype": "FLOAT"}]}, {}),
        ({"inputs": [TENSOR | {"shape": [-1, 4]}]}, {}),
        ({"inputs": [TENSOR | {"data": list("abcdefgh")}]}, {}),
        ({"inputs": [TENSOR], "outputs": [{"name": "nope"}]}, {}),
        ("{not json", {}),
        ({"inputs": [TENSOR]}, {"Inference-Header-Content-Length": "99999"}),
        ({"inputs": [TENSOR]}, {"Inference-Header-Content-Length": "-1"}),
        ({"inputs": [TENSOR]}, {"Inference-Header-Content-Length": "ten"}),
        ("", {}),
        ("[" * 100_000, {}),
        ({"inputs": [TENSOR]}, {"X-Request-Timeout": "soon"}),
        ({"inputs": [TENSOR]}, {"X-Request-Timeout": "-1"}),
        ({"inputs": [TENSOR], "parameters": {"timeout": -1}}, {}),
        ({"inputs": [TENSOR]}, {"Content-Encoding": "gzip"}),
    ],
)
def test_every_mistake_of_a_client_is_a_400_in_json(
    echo: Replica, body: Any, headers: dict[str, str]
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = echo.call("POST", "/v2/models/echo/infer", content, headers)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json"), answer.body
    assert answer.json["error"]
    assert answer.json["code"] == "invalid"


def test_an_error_names_the_element_and_nothing_of_ours(echo: Replica) -> None:
    body = json.dumps({"inputs": [TENSOR | {"data": [1, 2, 3, "a", 5, 6, 7, 8]}]})
    answer = echo.call("POST", "/v2/models/echo/infer", body, {"X-Request-Id": "q-17"})
    assert answer.json == {
        "error": 'inputs[0].data[3]: expected FP64, got "a"',
        "code": "invalid",
        "path": "inputs[0].data[3]",
        "request_id": "q-17",
    }


def test_an_answer_says_who_gave_it_and_how_long_it_took(echo: Replica) -> None:
    answer = echo.infer(1, 2)
    assert answer.json == {
        "model_name": "echo",
        "model_version": "3",
        "outputs": [{"name": "output", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}],
    }
    assert answer.headers["x-modelyard-model-version"] == "3"
    assert answer.headers["x-modelyard-revision"] == "7"
    stages = "parse queue batch ipc preprocess infer serialize total"
    assert [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")] == stages.split()
    assert answer.headers["x-request-id"] != echo.infer(1, 2).headers["x-request-id"]


@pytest.mark.parametrize(("given", "echoed"), [("abc-1", True), ("x" * 129, False), ("café", False)])
def test_a_request_id_is_echoed_when_it_is_sound(echo: Replica, given: str, echoed: bool) -> None:
    answer = echo.call("GET", "/livez", headers={"X-Request-Id": given})
    assert (answer.headers["x-request-id"] == given) is echoed


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_and_answers_are_understood(echo: Replica, coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    for count in (4, 9000):
        answer = echo.call(
            "POST",
            "/v2/models/echo/infer",
            pack(infer_body(*np.linspace(0, 1, count))),
            {"Content-Encoding": coding, "Accept-Encoding": coding},
        )
        assert answer.status == 200, answer.body
        assert ("content-encoding" in answer.headers) == (count > 4)
        if count > 4:
            inflated = zlib.decompress(answer.body, 47)
            assert len(json.loads(inflated)["outputs"][0]["data"]) == count


def test_decompression_bombs_are_refused(echo: Replica) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    small = gzip.compress(gzip.compress(bytes(1000)))[:-3]
    for body, status in ((bomb, 413), (bomb + bomb, 413), (small, 400), (b"junk" * 2000, 400)):
        answer = echo.call("POST", "/v2/models/echo/infer", body, {"Content-Encoding": "gzip"})
        assert answer.status == status
    assert echo.call("POST", "/v2/models/echo/infer", b"x", {"Content-Encoding": "br"}).status == 415


def test_rows_are_answered_in_their_orientation() -> None:
    signature = {
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 2], "columns": ["a", "b"]}],
        "outputs": [{"name": "label", "datatype": "FP64", "shape": [-1]}],
    }
    with replica(
        code="def predict(inputs):\n    return {'label': inputs['input'].sum(axis=1)}", signature=signature
    ) as running:
        rows = [{"b": 2, "a": 1}, {"b": 4, "a": 3}]
        for path in ("/predict", "/v2/models/echo/predict", "/v2/models/echo/versions/3/predict"):
            answer = running.call("POST", path, json.dumps({"args": {"X": rows}}))
            assert answer.json == {"result": [{"PredictedValue": 3.0}, {"PredictedValue": 7.0}]}
        split = {"columns": ["b", "a"], "data": [[2, 1]]}
        answer = running.call("POST", "/predict", json.dumps(split))
        assert answer.json == {"columns": ["label"], "data": [[3.0]]}
        answer = running.call("POST", "/predict", json.dumps([{"a": 1}]))
        assert (answer.status, answer.json["error"]) == (400, 'missing column "b"; the model takes "a", "b"')


def test_tritons_own_client_works_unmodified(echo: Replica) -> None:
    import tritonclient.http as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{echo.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.get_server_metadata()["name"] == "modelyard"
    assert client.get_model_metadata("echo", "3")["inputs"][0]["name"] == "input"
    assert client.get_model_repository_index() == [{"name": "echo", "version": "3", "state": "READY"}]
    values = np.random.default_rng(1).random((30, 50))
    for binary in (True, False):
        given = triton.InferInput("input", [30, 50], "FP64")
        given.set_data_from_numpy(values, binary_data=binary)
        for outputs in (None, [triton.InferRequestedOutput("output", binary_data=binary)]):
            for coding in (None, "gzip", "deflate"):
                result = client.infer(
                    "echo",
                    [given],
                    outputs=outputs,
                    request_id="r-1",
                    timeout=5_000_000,
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                assert np.array_equal(result.as_numpy("output"), values)
                assert result.get_response()["id"] == "r-1"
    with pytest.raises(triton.InferenceServerException, match='unknown model "nope"'):
        client.infer("nope", [given])
    client.close()


def test_bytes_travel_through_tritons_client() -> None:
    import tritonclient.http as triton

    signature = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [-1]}], "outputs": []}
    elements = np.array([b"", b"\0\xff", "é".encode(), b"x" * 90_000], object)
    with replica(signature=signature, listen="tcp") as running:
        client = triton.InferenceServerClient(f"127.0.0.1:{running.port}")
        given = triton.InferInput("input", [4], "BYTES")
        given.set_data_from_numpy(elements)
        assert client.infer("echo", [given]).as_numpy("output").tolist() == elements.tolist()
        client.close()


@pytest.mark.parametrize("name", ["stats", "ready", "a/b", "two words", "模型"])
@pytest.mark.parametrize("version", ["v1", "1.2.0"])
def test_models_may_have_any_name_and_version(name: str, version: str) -> None:
    # Routing alone, without a process for each name.
    from urllib.parse import quote

    from modelyard.serving.errors import not_found
    from modelyard.serving.http.messages import Exchange
    from modelyard.serving.routing import Route, Router

    def infer(exchange: Exchange) -> None:
        raise AssertionError(exchange)

    path = f"/v2/models/{name}/versions/{version}/infer"
    router = Router({path: Route({"POST": infer})}, nothing_at=not_found)
    asked = Exchange(None)  # type: ignore[arg-type]
    asked.method, asked.target = "POST", quote(path).encode()
    assert router.find(asked) is infer


def test_metrics_have_the_promised_names(echo: Replica) -> None:
    echo.infer(1, 2)
    text = echo.call("GET", "/metrics").body.decode()
    labels = 'project="default",service="echo",stage="production",model="echo-model",version="3"'
    assert f'modelyard_requests_total{{{labels},protocol="v2",code="200"}}' in text
    for name in ("request_duration", "queue_duration", "inference_duration"):
        assert f'modelyard_{name}_seconds_bucket{{{labels},le="+Inf"}}' in text
    for name in ("inflight", "queue_depth", "worker_up", "worker_restarts_total", "retried_total"):
        assert f"modelyard_{name}{{{labels}}} " in text
    for name in ("worker_rss_bytes", "model_loaded_bytes", "batching", "cache_bytes"):
        assert f"modelyard_{name}{{{labels}}} " in text
    from prometheus_client.parser import text_string_to_metric_families

    assert len(list(text_string_to_metric_families(text))) >= 10


def test_values_that_json_cannot_carry_are_refused_in_json_and_sent_as_binary(steady: Replica) -> None:
    refused = steady.infer(12, 0)
    assert (refused.status, "ask for binary output" in refused.json["error"]) == (400, True)
    body = json.loads(infer_body(12, 0)) | {"parameters": {"binary_data_output": True}}
    sent = steady.call("POST", "/v2/models/echo/infer", json.dumps(body))
    assert sent.status == 200
    assert np.isnan(
        np.frombuffer(sent.body[int(sent.headers["inference-header-content-length"]) :], "<f8")
    ).all()


def test_errors_of_the_model_blame_the_input_or_the_model(steady: Replica) -> None:
    blamed = steady.infer(8, 0)
    assert (blamed.status, blamed.json["code"]) == (400, "invalid")
    assert "this value will not do" in blamed.json["error"]
    broken = steady.infer(9, 0)
    assert (broken.status, broken.json["code"]) == (500, "prediction_failed")
    assert "the model is broken" in broken.json["error"]
    assert "Traceback" not in broken.json["error"]
    steady.wait_for(lambda: "RuntimeError: the model is broken" in steady.log)


def test_a_guests_prints_reach_the_log_and_our_environment_does_not_reach_the_guest(steady: Replica) -> None:
    assert steady.infer(10, 0).status == 200
    steady.wait_for(lambda: "a line from the guest" in steady.log)
    with open(f"/proc/{steady.worker}/environ", "rb") as file:
        environment = file.read()
    assert b"GREETING=hello" in environment
    assert b"PLATFORM_SECRET" not in environment


def test_a_busy_model_does_not_delay_probes(steady: Replica) -> None:
    import threading
    import time

    asking = threading.Thread(target=steady.infer, args=(7, 1.0))
    asking.start()
    slowest = 0.0
    for _ in range(20):
        begun = time.monotonic()
        assert steady.call("GET", "/v2/health/live").status == 200
        slowest = max(slowest, time.monotonic() - begun)
    asking.join()
    assert slowest < 0.5


@pytest.mark.parametrize(
    ("code", "signature", "worker", "reason"),
    [
        ("import no_such_package\ndef predict(inputs): return inputs", None, {}, "MissingPackage"),
        ("raise RuntimeError('boom')", None, {}, "UserCodeFailed"),
        ("import time\ntime.sleep(60)", None, {"load_timeout_seconds": 0.5}, "LoadTimeout"),
        ("import os\nos._exit(9)", None, {}, "WorkerCrashed"),
        (
            "kept = bytearray(b'x') * (300 << 20)\nimport time\ntime.sleep(9)",
            None,
            {"memory_bytes": 150 << 20},
            "OutOfMemory",
        ),
        ("", None, {"interpreter": "/nowhere/python"}, "InterpreterMissing"),
    ],
)
def test_a_model_that_never_loads_ends_the_front_with_the_reason(
    code: str, signature: None, worker: dict[str, Any], reason: str
) -> None:
    running = spawn(code=code, signature=signature, worker=worker)
    assert running.process.wait(15) == 1
    assert running.state["phase"] == "failed"
    assert running.state["failure"]["reason"] == reason, running.state
    assert running.state["workers"] == []


def test_a_port_in_use_is_named(echo: Replica) -> None:
    running = spawn(listen="unix")
    running.wait_ready()
    other = spawn()
    other.process.kill()
    other.process.wait(10)
    config = json.loads((other.directory / "replica.json").read_text()) | {"listen": running.listen}
    for address in (running.listen, f"127.0.0.1:{echo.port}"):
        (other.directory / "replica.json").write_text(json.dumps(config | {"listen": address}))
        second = _start_again(other)
        assert second.process.wait(10) == 1
        assert second.state["failure"]["reason"] == "PortInUse"
    assert running.call("GET", "/livez").status == 200
    assert running.terminate() == 0


def _start_again(stopped: Replica) -> Replica:
    import subprocess
    import sys

    with (stopped.directory / "log").open("ab") as log:
        command = [
            sys.executable,
            "-m",
            "modelyard.serving",
            "--config",
            str(stopped.directory / "replica.json"),
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    SPAWNED.append(again := Replica(process, stopped.directory, stopped.listen))
    return again


def test_the_socket_of_a_killed_front_is_taken_over() -> None:
    running = spawn()
    running.wait_ready()
    running.process.kill()
    running.process.wait(10)
    again = _start_again(running)
    again.wait_for(lambda: again.state.get("pid") == again.process.pid and again.state["phase"] == "ready")
    assert again.infer(1, 2).status == 200
    assert again.terminate() == 0


def test_a_wrong_configuration_is_named(tmp_path: Any) -> None:
    import subprocess
    import sys

    path = tmp_path / "replica.json"
    for content, words in (
        ("{", "not readable"),
        ("{}", "service: expected text"),
        ('{"service":"a"}', "worker: expected an object"),
        ('{"service":"a","worker":{"interpreter":"p","package":"p","config":{}}}', "listen"),
    ):
        path.write_text(content)
        ended = subprocess.run(
            [sys.executable, "-m", "modelyard.serving", "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert ended.returncode == 1
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr
