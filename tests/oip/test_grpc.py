"""Messages of gRPC: large tensors taken out and put in, and what protobuf makes of the result."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.oip.errors import Rejected
from modelyard.oip.grpc import inference_pb2 as pb
from modelyard.oip.grpc.infer_request import read_request, to_query
from modelyard.oip.grpc.infer_response import (
    Answering,
    render_response,
    streamed_error,
    streamed_last,
    streamed_response,
)
from modelyard.oip.grpc.templates import Templates
from modelyard.oip.grpc.wire import tagged, taken_out, varint
from modelyard.oip.infer_response import Wish
from modelyard.oip.model import ServedModel
from modelyard.oip.signature import compile_signature
from modelyard.oip.tensor import Tensor, from_array

ANYTHING = ServedModel("m", "1", "python", compile_signature(None))


@given(
    name=st.text(max_size=20),
    raw=st.lists(st.binary(max_size=300), max_size=6),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
)
def test_what_is_taken_out_and_the_rest_are_the_message(
    name: str, raw: list[bytes], shape: list[int]
) -> None:
    message = pb.ModelInferRequest(model_name=name, id=name, raw_input_contents=raw)
    message.inputs.add(name=name, shape=shape)
    message.parameters["x"].double_param = 1.5
    apart = taken_out(message.SerializeToString(), 7)
    assert apart is not None
    rest, found = apart
    assert [bytes(view) for view in found] == raw
    del message.raw_input_contents[:]
    assert pb.ModelInferRequest.FromString(rest) == message


@given(st.binary(max_size=200))
def test_taking_out_of_anything_agrees_with_protobuf(body: bytes) -> None:
    """What is cut out here and there must be read alike; what we cannot read, protobuf judges."""
    apart = taken_out(body, 7)
    if apart is None:
        return
    try:
        whole = pb.ModelInferRequest.FromString(body)
    except Exception:  # noqa: BLE001 - whatever protobuf refuses, it must refuse without the tensors too
        with pytest.raises(Exception, match=r".*"):
            pb.ModelInferRequest.FromString(apart[0])
        return
    assert list(whole.raw_input_contents) == [bytes(view) for view in apart[1]]


def test_large_tensors_are_views_of_the_message() -> None:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(80_000)])
    message.inputs.add(name="x", datatype="FP64", shape=[10_000])
    body = message.SerializeToString()
    request = read_request(body)
    (tensor,) = to_query(request, ANYTHING).inputs
    assert isinstance(tensor.data, memoryview)
    assert tensor.data.obj is body
    assert not request.message.raw_input_contents


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    assert pb.StatisticDuration(count=value).SerializeToString() == (
        b"\x08" + varint(value) if value else b""
    )


def test_an_answer_is_what_protobuf_would_write() -> None:
    outputs = [from_array("a", np.array([[1.0, 2.0]])), from_array("b", np.array([], np.int8))]
    answering = Answering("m", "7", "id")
    parts = render_response(outputs, answering=answering).parts
    message = pb.ModelInferResponse.FromString(b"".join(parts))
    assert (message.model_name, message.model_version, message.id) == ("m", "7", "id")
    assert [(o.name, o.datatype, list(o.shape)) for o in message.outputs] == [
        ("a", "FP64", [1, 2]),
        ("b", "INT8", [0]),
    ]
    assert list(message.raw_output_contents) == [struct.pack("<2d", 1, 2), b""]
    streamed = pb.ModelStreamInferResponse.FromString(b"".join(streamed_response(parts)))
    assert streamed.infer_response.parameters["triton_final_response"].bool_param
    del streamed.infer_response.parameters["triton_final_response"]
    assert streamed.infer_response == message


def test_the_last_response_merges_into_the_one_before_it() -> None:
    message = pb.ModelStreamInferResponse()
    message.infer_response.model_name = "m"
    message.infer_response.raw_output_contents.append(b"x")
    both = pb.ModelStreamInferResponse.FromString(message.SerializeToString() + streamed_last("i"))
    assert list(both.infer_response.raw_output_contents) == [b"x"]
    assert (both.infer_response.id, both.infer_response.model_name) == ("i", "m")
    assert both.infer_response.parameters["triton_final_response"].bool_param
    assert pb.ModelStreamInferResponse.FromString(streamed_error("no", "i")).error_message == "no"


def test_only_what_was_asked_for_is_answered_in_that_order() -> None:
    outputs = [from_array(name, np.array([1])) for name in "abc"]
    wishes = (Wish("c", binary=True), Wish("a", binary=True))
    answer = render_response(outputs, answering=Answering("m", "", outputs=wishes))
    message = pb.ModelInferResponse.FromString(b"".join(answer.parts))
    assert [output.name for output in message.outputs] == ["c", "a"]
    with pytest.raises(Rejected, match='unknown output "x"'):
        render_response(outputs, answering=Answering("m", "", outputs=(Wish("x", binary=True),)))


def test_typed_contents_have_no_half_precision() -> None:
    half = Tensor("h", "FP16", (1,), b"\x00\x3c")
    with pytest.raises(Rejected, match="only raw contents"):
        render_response([half], answering=Answering("m", "", typed=True))
    for datatype, data, field in (
        ("BOOL", b"\x01", "bool_contents"),
        ("INT8", b"\xff", "int_contents"),
        ("UINT64", b"\xff" * 8, "uint64_contents"),
        ("FP32", struct.pack("<f", 0.5), "fp32_contents"),
        ("BYTES", b"\x01\x00\x00\x00a", "bytes_contents"),
    ):
        answer = render_response(
            [Tensor("t", datatype, (1,), data)], answering=Answering("m", "", typed=True)
        )
        message = pb.ModelInferResponse.FromString(b"".join(answer.parts))
        assert len(getattr(message.outputs[0].contents, field)) == 1


def test_a_field_of_bytes_has_its_number_and_size_in_front() -> None:
    assert tagged(6, 300) == b"\x32\xac\x02"


def a_request(*rows: bytes, name: str = "m", identity: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=name, id=identity, raw_input_contents=rows)
    for index, row in enumerate(rows):
        message.inputs.add(name=f"x{index}", datatype="INT32", shape=[len(row) // 4])
    return message


@given(
    rows=st.lists(st.lists(st.integers(0, 255), min_size=8, max_size=8).map(bytes), min_size=1, max_size=3),
    others=st.lists(st.lists(st.integers(0, 255), min_size=8, max_size=8).map(bytes), min_size=3, max_size=3),
    name=st.sampled_from(["m", "n"]),
    identity=st.sampled_from(["", "a", "b"]),
    flipped=st.integers(0, 10_000),
)
def test_a_template_reads_what_the_long_way_reads(
    rows: list[bytes], others: list[bytes], name: str, identity: str, flipped: int
) -> None:
    templates: Templates[str] = Templates()
    first = a_request(*rows).SerializeToString()
    request = read_request(first)
    templates.learn(first, request, to_query(request, ANYTHING), "about")
    same = templates.read(first)
    assert same is not None
    assert same[0].inputs == to_query(request, ANYTHING).inputs
    damaged = bytearray(a_request(*others[: len(rows)], name=name, identity=identity).SerializeToString())
    if flipped < len(damaged):
        damaged[flipped] ^= 1
    body = bytes(damaged)
    known = templates.read(body)
    if known is not None:
        query = to_query(read_request(body), ANYTHING)
        assert known[0].inputs == query.inputs
        assert known[0].outputs == query.outputs
        assert known[0].render(known[0].inputs) == query.render(query.inputs)
    elif flipped >= len(damaged):
        assert (name, identity) != ("m", "")


def test_what_must_be_looked_at_is_not_remembered() -> None:
    texts = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"\x01\x00\x00\x00a"])
    texts.inputs.add(name="x", datatype="BYTES", shape=[1])
    typed = pb.ModelInferRequest(model_name="m")
    typed.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(1)
    classes = a_request(bytes(8))
    classes.outputs.add(name="y").parameters["classification"].int64_param = 1
    for message in (texts, typed, classes, a_request(bytes(8), identity="x" * 5000)):
        templates: Templates[None] = Templates()
        body = message.SerializeToString()
        request = read_request(body)
        templates.learn(body, request, to_query(request, ANYTHING), None)
        assert templates.read(body) is None
