"""gRPC calls as unmodified grpcio makes them: answers, mistakes, limits, deadlines."""

from __future__ import annotations

import gzip
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.calls import SERVICE, Calls, calls, request, typed, values
from tests.serving.replicas import Replica, replica

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client(echo: Replica) -> Iterator[Calls]:
    with calls(echo) as made:
        yield made


def refused(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def trailers(error: Any) -> dict[str, str]:
    return dict(error.trailing_metadata() or ())


def test_raw_contents_come_back_as_raw_contents(client: Calls) -> None:
    answer = client.infer(request(1, 2, 3.5, id="a"))
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "3", "a")
    assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [("output", "FP64", [1, 3])]
    assert values(answer) == (1, 2, 3.5)
    assert not answer.outputs[0].HasField("contents")


def test_typed_contents_come_back_raw_unless_typed_ones_are_asked_for(client: Calls) -> None:
    assert values(client.infer(typed(1, 2))) == (1, 2)
    wanted = typed(1, 2)
    wanted.parameters["typed_contents"].bool_param = True
    answer = client.infer(wanted)
    assert list(answer.outputs[0].contents.fp64_contents) == [1, 2]
    assert not answer.raw_output_contents


def test_a_version_and_every_name_of_the_model_are_understood(client: Calls) -> None:
    for name in ("echo", "echo-model"):
        assert client.infer(request(1, model=name, model_version="3")).model_name == name


def test_requested_outputs_are_the_ones_that_come(client: Calls) -> None:
    wanted = request(4)
    wanted.outputs.add(name="output")
    assert values(client.infer(wanted)) == (4,)


def test_a_large_tensor_goes_both_ways(client: Calls) -> None:
    row = [float(n) for n in range(300_000)]
    assert values(client.infer(request(*row))) == tuple(row)


def test_compressed_messages_are_inflated(client: Calls) -> None:
    row = [float(n) for n in range(50_000)]
    answer = client.infer(request(*row), compression=grpc.Compression.Gzip)
    assert values(answer) == tuple(row)
    assert values(client.infer(request(1), compression=grpc.Compression.Deflate)) == (1,)


def test_the_server_and_the_model_say_what_they_are(client: Calls) -> None:
    assert client.ask("ServerLive").live
    assert client.ask("ServerReady").ready
    assert client.ask("ModelReady", name="echo").ready
    assert client.ask("ServerMetadata").name == "modelyard"
    told = client.ask("ModelMetadata", name="echo", version="3")
    assert (told.name, list(told.versions), told.platform) == ("echo", ["3"], "python")
    assert [(i.name, i.datatype, list(i.shape)) for i in told.inputs] == [("input", "FP64", [-1, -1])]


def test_the_index_says_what_there_is(client: Calls) -> None:
    (entry,) = client.ask("RepositoryIndex").models
    assert (entry.name, entry.version, entry.state) == ("echo", "3", "READY")


def test_answers_carry_the_request_id_and_the_revision(client: Calls) -> None:
    _, call = client.method("ModelInfer").with_call(
        request(1), metadata=[("x-request-id", "mine")], timeout=9
    )
    head = dict(call.initial_metadata())
    assert (head["x-request-id"], head["x-modelyard-revision"]) == ("mine", "7")
    assert "queue;dur=" in head["server-timing"]


def _tensor(**changed: Any) -> Any:
    message = request(1, 2)
    for name, value in changed.items():
        if name == "shape":
            message.inputs[0].ClearField("shape")
            message.inputs[0].shape.extend(value)
        else:
            setattr(message.inputs[0], name, value)
    return message


def _with(change: Any, message: Any = None) -> Any:
    message = message or request(1, 2)
    change(message)
    return message


def _parameter(message: Any, **value: Any) -> None:
    for name, given in value.items():
        setattr(message.parameters["timeout"], name, given)


@pytest.mark.parametrize(
    ("message", "path", "words"),
    [
        (pb.ModelInferRequest(model_name="echo"), "inputs", 'missing "input"'),
        (_tensor(name="other"), "inputs[0].name", 'unknown input "other"'),
        (_tensor(name=""), "inputs[0].name", "expected a name"),
        (_tensor(datatype="FLOAT"), "inputs[0].datatype", "expected one of"),
        (_tensor(datatype="FP32"), "inputs[0].datatype", "expected FP64, got FP32"),
        (_tensor(shape=[-1, 2]), "inputs[0].shape[0]", "expected a size of 0 or more, got -1"),
        (_tensor(shape=[2]), "inputs[0].shape", "expected [-1, -1]"),
        (_tensor(shape=[1] * 40), "inputs[0].shape", "40 dimensions"),
        (_tensor(shape=[1 << 31, 1 << 31]), "inputs[0].shape[0]", "expected a size"),
        (_tensor(shape=[2, 2]), "raw_input_contents[0]", "expecting 32 bytes, got 16"),
        (
            _with(lambda m: m.raw_input_contents.append(b"")),
            "raw_input_contents",
            "for each of 1 inputs, got 2",
        ),
        (
            _with(lambda m: m.inputs[0].contents.fp64_contents.extend([1, 2])),
            "inputs[0].contents",
            "must be absent",
        ),
        (
            _with(lambda m: m.inputs[0].contents.fp32_contents.append(1), typed(1)),
            "inputs[0].contents.fp32_contents",
            "FP64 elements are in fp64_contents",
        ),
        (
            _with(lambda m: m.inputs[0].contents.fp64_contents.append(1), typed(1)),
            "inputs[0].contents.fp64_contents",
            "expected 1 values",
        ),
        (_with(lambda m: m.inputs.append(m.inputs[0]), typed(1)), "inputs", "given twice"),
        (_with(lambda m: m.outputs.add(name="nope")), "outputs[0].name", 'unknown output "nope"'),
        (_with(lambda m: m.outputs.add()), "outputs[0].name", "expected a name"),
        (
            _with(lambda m: (m.outputs.add(name="output"), m.outputs.add(name="output"))),
            "outputs",
            "asked for twice",
        ),
        (_with(lambda m: _parameter(m, int64_param=-1)), "parameters.timeout", "expected microseconds"),
        (_with(lambda m: _parameter(m, string_param="x")), "parameters.timeout", "expected microseconds"),
        (_with(lambda m: m.parameters["x"]), "parameters.x", "got nothing"),
    ],
)
def test_mistakes_are_invalid_arguments_that_name_the_place(
    client: Calls, message: Any, path: str, words: str
) -> None:
    error: Any = refused(lambda: client.infer(message))
    assert (error.code(), trailers(error)["x-modelyard-path"]) == (Code.INVALID_ARGUMENT, path)
    assert words in error.details()


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (request(1, model="nope"), Code.NOT_FOUND, 'unknown model "nope"'),
        (request(1, model=""), Code.NOT_FOUND, "unknown model"),
        (request(1, model_version="9"), Code.NOT_FOUND, 'has no version "9" here'),
    ],
)
def test_what_is_not_there_is_not_found(client: Calls, message: Any, code: Any, words: str) -> None:
    error: Any = refused(lambda: client.infer(message))
    assert error.code() == code
    assert words in error.details()


def test_bytes_that_are_no_message_are_invalid(client: Calls) -> None:
    for method in ("ModelInfer", "ModelMetadata", "RepositoryIndex"):
        error: Any = refused(lambda method=method: client.raw(f"/{SERVICE}/{method}", b"\x0a\xff\xff"))
        assert error.code() == Code.INVALID_ARGUMENT
        assert "the message is not" in error.details()
    large = b"\x3a\xff\xff\xff\x7f" + bytes(100_000)
    assert refused(lambda: client.raw(f"/{SERVICE}/ModelInfer", large)).code() == Code.INVALID_ARGUMENT  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path", [f"/{SERVICE}/Nope", "/x.Y/Z", f"/{SERVICE}/TraceSetting", f"/{SERVICE}/LogSettings"]
)
def test_methods_that_are_not_there_are_unimplemented(client: Calls, path: str) -> None:
    assert refused(lambda: client.raw(path, b"")).code() == Code.UNIMPLEMENTED  # type: ignore[attr-defined]


def test_too_large_a_message_is_refused_before_it_is_read(client: Calls) -> None:
    error: Any = refused(lambda: client.raw(f"/{SERVICE}/ModelInfer", bytes((4 << 20) + 1)))
    assert error.code() == Code.RESOURCE_EXHAUSTED
    assert "4194304 bytes, the most this service accepts" in error.details()


def test_a_gzip_bomb_is_refused(client: Calls) -> None:
    error: Any = refused(
        lambda: client.raw(f"/{SERVICE}/ModelInfer", bytes(64 << 20), compression=grpc.Compression.Gzip)
    )
    assert (error.code(), "once decompressed" in error.details()) == (Code.RESOURCE_EXHAUSTED, True)
    assert len(gzip.compress(bytes(64 << 20))) < 1 << 20
    assert values(client.infer(request(1))) == (1,)


def test_the_deadline_of_a_call_is_the_deadline_of_its_prediction(steady: Replica) -> None:
    with calls(steady) as client:
        busy = threading.Thread(target=lambda: client.infer(request(7, 0.8)))
        busy.start()
        time.sleep(0.2)
        began = time.monotonic()
        error: Any = refused(lambda: client.infer(request(0, 1), timeout=0.2))
        assert error.code() == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 0.6
        wanted = request(0, 1)
        wanted.parameters["timeout"].int64_param = 100_000
        error = refused(lambda: client.infer(wanted))
        assert (error.code(), "within 0.1 s" in error.details()) == (Code.DEADLINE_EXCEEDED, True)
        busy.join()


def test_a_cancelled_call_leaves_the_queue(steady: Replica) -> None:
    with calls(steady) as client:
        first = client.method("ModelInfer").future(request(7, 0.6))
        time.sleep(0.2)
        waiting = [client.method("ModelInfer").future(request(0, 1)) for _ in range(5)]
        depth = 'modelyard_queue_depth{project="default",service="echo",stage="test"'
        steady.wait_for(
            lambda: any(line.startswith(depth) and line.endswith(" 5") for line in _metrics(steady))
        )
        for call in waiting:
            call.cancel()
        steady.wait_for(
            lambda: any(line.startswith(depth) and line.endswith(" 0") for line in _metrics(steady))
        )
        assert values(first.result()) == (7, 0.6)


def _metrics(running: Replica) -> list[str]:
    return running.call("GET", "/metrics").body.decode().splitlines()


def test_calls_are_counted_under_their_protocol(client: Calls, echo: Replica) -> None:
    client.infer(request(1))
    refused(lambda: client.infer(pb.ModelInferRequest(model_name="echo")))
    counted = [line for line in _metrics(echo) if "requests_total" in line and 'protocol="grpc"' in line]
    assert any('code="200"' in line for line in counted)
    assert any('code="400"' in line for line in counted)


def test_errors_of_the_model_have_their_codes(steady: Replica) -> None:
    with calls(steady) as client:
        error: Any = refused(lambda: client.infer(request(8, 0)))
        assert error.code() in (Code.INTERNAL, Code.INVALID_ARGUMENT)
        error = refused(lambda: client.infer(request(9, 0)))
        assert (error.code(), "the model is broken" in error.details()) == (Code.INTERNAL, True)


def test_a_full_queue_is_resource_exhausted_and_promises_that_nothing_was_begun() -> None:
    code = "import time\ndef predict(inputs):\n    time.sleep(0.5)\n    return {'output': inputs['input']}\n"
    with replica(code=code, limits={"queue": 1}) as running, calls(running) as client:
        begun = [client.method("ModelInfer").future(request(1)) for _ in range(8)]
        errors = [call.exception() for call in begun]
        full = [error for error in errors if error is not None]
        assert full
        assert {error.code() for error in full} == {Code.RESOURCE_EXHAUSTED}
        assert trailers(full[0])["x-modelyard-retry"] == "safe"


def test_models_are_unloaded_and_loaded_by_either_name_of_the_field() -> None:
    with replica(model_control=True) as running, calls(running) as client:
        told = client.ask("RepositoryModelUnload", model_name="echo")
        assert (told.model_name, told.isUnloaded) == ("echo", True)
        assert client.ask("RepositoryIndex").models[0].state == "UNAVAILABLE"
        assert not client.ask("ModelReady", name="echo").ready
        assert refused(lambda: client.infer(request(1))).code() == Code.UNAVAILABLE  # type: ignore[attr-defined]
        assert client.ask("RepositoryModelLoad", repository_name="echo").isLoaded
        assert values(client.infer(request(1))) == (1,)
        assert refused(lambda: client.ask("RepositoryModelLoad")).code() == Code.INVALID_ARGUMENT  # type: ignore[attr-defined]
        assert refused(lambda: client.ask("RepositoryModelLoad", model_name="x")).code() == Code.NOT_FOUND  # type: ignore[attr-defined]


def test_reflection_describes_every_service(client: Calls) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    assert set(database.get_services()) == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    file = database.FindFileContainingSymbol(f"{SERVICE}.ModelInfer")
    assert [service.name for service in file.service] == ["GRPCInferenceService"]
    assert database.FindFileByName(file.name).package == "inference"
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("inference.Nope")


def test_the_health_service_is_asked_and_watched() -> None:
    with replica(model_control=True) as running, calls(running) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        for name in ("", SERVICE, "echo"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status == 1
        unknown: Any = refused(lambda: stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=5))
        assert unknown.code() == Code.NOT_FOUND
        seen = stub.Watch(health_pb2.HealthCheckRequest(service="echo"))
        assert next(seen).status == 1
        client.ask("RepositoryModelUnload", model_name="echo")
        assert next(seen).status == 2
        client.ask("RepositoryModelLoad", model_name="echo")
        assert next(seen).status == 1
        running.process.terminate()
        assert next(seen).status == 2
        left: Any = refused(lambda: next(seen))
        assert left.code() == Code.UNAVAILABLE


def test_keepalive_pings_do_not_end_the_connection(echo: Replica) -> None:
    options = {
        "keepalive_time_ms": 10,
        "keepalive_timeout_ms": 5000,
        "keepalive_permit_without_calls": 1,
        "http2.max_pings_without_data": 0,
        "http2.min_sent_ping_interval_without_data_ms": 10,
    }
    with calls(echo, **options) as client:
        for _ in range(3):
            assert values(client.infer(request(1))) == (1,)
            time.sleep(0.4)


def test_every_datatype_is_read_from_typed_contents() -> None:
    code = "def predict(inputs):\n    return {name + '_out': array for name, array in inputs.items()}\n"
    given = {
        "BOOL": ("bool_contents", [True, False], struct.pack("<2?", True, False)),
        "INT8": ("int_contents", [-1, 2], struct.pack("<2b", -1, 2)),
        "INT64": ("int64_contents", [-(2**60), 2], struct.pack("<2q", -(2**60), 2)),
        "UINT16": ("uint_contents", [1, 65535], struct.pack("<2H", 1, 65535)),
        "UINT64": ("uint64_contents", [2**63, 1], struct.pack("<2Q", 2**63, 1)),
        "FP32": ("fp32_contents", [0.5, float("nan")], struct.pack("<2f", 0.5, float("nan"))),
        "BYTES": ("bytes_contents", [b"a\x00\xff", b""], b"\x03\x00\x00\x00a\x00\xff\x00\x00\x00\x00"),
    }
    with replica(code=code, signature=None) as running, calls(running) as client:
        message = pb.ModelInferRequest(model_name="echo")
        for datatype, (field, elements, _) in given.items():
            tensor = message.inputs.add(name=datatype, datatype=datatype, shape=[2])
            getattr(tensor.contents, field).extend(elements)
        answer = client.infer(message)
        raw = dict(zip([o.name for o in answer.outputs], answer.raw_output_contents, strict=True))
        assert raw == {f"{datatype}_out": expected for datatype, (_, _, expected) in given.items()}
        wrong = pb.ModelInferRequest(model_name="echo")
        wrong.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(300)
        error: Any = refused(lambda: client.infer(wrong))
        assert (error.code(), error.details()) == (
            Code.INVALID_ARGUMENT,
            "inputs[0].contents.int_contents[0]: 300 is out of range for INT8",
        )
        half = pb.ModelInferRequest(model_name="echo")
        half.inputs.add(name="x", datatype="FP16", shape=[1]).contents.fp32_contents.append(1)
        error = refused(lambda: client.infer(half))
        assert "raw_input_contents only" in error.details()
