"""The v2 codec: what is accepted, what is refused and where, and that tensors survive both ways."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.oip.datatypes import DTYPES, encode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.infer_response import Wish, Wishes, render_response
from modelyard.oip.model import ServedModel
from modelyard.oip.tensor import Tensor, from_array, object_array, to_array
from tests.oip.models import ANYTHING, IRIS, model, spec

GOOD = {"name": "input", "shape": [2, 4], "datatype": "FP64", "data": [[1, 2, 3, 4], [5, 6, 7, 8.5]]}


def body(*inputs: Any, **more: Any) -> bytes:
    return orjson.dumps({"inputs": list(inputs), **more})


def refusal(content: bytes, served: ServedModel = IRIS, *, length: int | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_infer(content, length, served)
    return caught.value


def test_nested_and_flat_data_are_the_same_tensor() -> None:
    flat = GOOD | {"data": [1, 2, 3, 4, 5, 6, 7, 8.5]}
    nested, laid_out = (parse_infer(body(tensor), None, IRIS).inputs[0] for tensor in (GOOD, flat))
    assert nested == laid_out
    assert to_array(nested).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]


@pytest.mark.parametrize(
    ("tensor", "path", "message"),
    [
        (GOOD | {"data": [1, 2, 3]}, "inputs[0].data", "expected 8 values for shape [2, 4], got 3"),
        (
            GOOD | {"data": [[1, 2, 3, 4], [1]]},
            "inputs[0].data[1]",
            "expected 4 values for shape [2, 4], got 1",
        ),
        (GOOD | {"data": [[1, 2, 3, 4], 5]}, "inputs[0].data[1]", "expected a list of 4 values, got 5"),
        (GOOD | {"data": [1, 2, 3, "a", 5, 6, 7, 8]}, "inputs[0].data[3]", 'expected FP64, got "a"'),
        (GOOD | {"data": [[1, 2, 3, 4], [5, None, 7, 8]]}, "inputs[0].data[1][1]", "expected FP64, got null"),
        (GOOD | {"data": [1, True, 3, 4, 5, 6, 7, 8]}, "inputs[0].data[1]", "expected FP64, got true"),
        (GOOD | {"data": 7}, "inputs[0].data", "expected a list of FP64 elements, got 7"),
        (GOOD | {"name": "x"}, "inputs[0].name", 'unknown input "x"; the model takes "input"'),
        (GOOD | {"name": 5}, "inputs[0].name", "expected a name, got 5"),
        (GOOD | {"datatype": "FLOAT"}, "inputs[0].datatype", 'got "FLOAT"'),
        (GOOD | {"datatype": "FP32"}, "inputs[0].datatype", "expected FP64, got FP32"),
        (GOOD | {"datatype": ["FP64"]}, "inputs[0].datatype", "got a list"),
        (GOOD | {"shape": [-1, 4]}, "inputs[0].shape[0]", "expected a size of 0 or more, got -1"),
        (GOOD | {"shape": [2, 5]}, "inputs[0].shape", "expected [-1, 4] (-1 is any size), got [2, 5]"),
        (GOOD | {"shape": [8]}, "inputs[0].shape", "expected [-1, 4]"),
        (GOOD | {"shape": "2,4"}, "inputs[0].shape", 'expected a list of sizes, got "2,4"'),
        (GOOD | {"shape": [2**40, 4]}, "inputs[0].shape[0]", "expected a size of 0 or more"),
        (GOOD | {"shape": [True, 4]}, "inputs[0].shape[0]", "got true"),
        (GOOD | {"parameters": 3}, "inputs[0].parameters", "expected an object, got 3"),
        (GOOD | {"parameters": {"a": []}}, "inputs[0].parameters.a", "expected a string, number or boolean"),
        ({"name": "input", "shape": [2, 4], "datatype": "FP64"}, "inputs[0].data", "missing"),
        ("text", "inputs[0]", "expected an object"),
    ],
)
def test_a_mistake_in_a_tensor_is_named_with_its_place(tensor: Any, path: str, message: str) -> None:
    error = refusal(body(tensor))
    assert error.path == path
    assert message in error.message


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (b"", "", "the body is empty"),
        (b"{", "", "the body is not JSON"),
        (b"[" * 100_000, "", "the body is not JSON"),
        (b"\xff\xfe", "", "the body is not JSON"),
        (b"[1]", "", "expected an object"),
        (b"{}", "inputs", "missing"),
        (b'{"inputs":{}}', "inputs", "expected a list of tensors"),
        (b'{"inputs":[]}', "inputs", 'missing "input"'),
        (body(GOOD, GOOD), "inputs", 'input "input" is given twice'),
        (body(GOOD, id=5), "id", "expected text, got 5"),
        (body(GOOD, outputs=5), "outputs", "expected a list of outputs"),
        (body(GOOD, outputs=[{"name": "nope"}]), "outputs[0].name", 'unknown output "nope"'),
        (body(GOOD, outputs=[{"name": "label"}, {"name": "label"}]), "outputs", "asked for twice"),
        (body(GOOD, outputs=["label"]), "outputs[0]", "expected an object with a name"),
        (body(GOOD, parameters={"timeout": "soon"}), "parameters.timeout", "expected microseconds"),
        (body(GOOD, parameters={"binary_data_output": 1}), "parameters.binary_data_output", "true or false"),
        (
            body(GOOD, outputs=[{"name": "label", "parameters": {"classification": "2"}}]),
            "outputs[0].parameters.classification",
            "expected a number of classes",
        ),
    ],
)
def test_a_mistake_in_a_request_is_named_with_its_place(content: bytes, path: str, message: str) -> None:
    error = refusal(content)
    assert error.path == path
    assert message in error.message


def test_binary_and_json_inputs_may_be_mixed() -> None:
    served = model([spec("a", "FP32", -1), spec("b", "BYTES", -1)])
    raw = np.array([1.5, -2], "<f4").tobytes()
    head = body(
        {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["x", "é"]},
        {"name": "a", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    )
    query = parse_infer(head + raw, len(head), served)
    assert to_array(query.inputs[0]).tolist() == [b"x", "é".encode()]
    assert to_array(query.inputs[1]).tolist() == [1.5, -2]


BINARY = {"name": "input", "shape": [1, 4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}


@pytest.mark.parametrize(
    ("tensor", "tail", "message"),
    [
        (BINARY, bytes(31), "claims 32 bytes, only 31 follow"),
        (BINARY, bytes(33), "unexpected additional input data for model 'iris'"),
        (BINARY | {"parameters": {"binary_data_size": 16}}, bytes(16), "expecting 32 bytes, got 16"),
        (BINARY | {"parameters": {"binary_data_size": -1}}, b"", "expected a number of bytes, got -1"),
        (
            BINARY | {"parameters": {"binary_data_size": "32"}},
            bytes(32),
            'expected a number of bytes, got "32"',
        ),
        (BINARY | {"data": [1, 2, 3, 4]}, bytes(32), "must be absent"),
        (BINARY | {"parameters": {"shared_memory_region": "r"}}, b"", "expected a number of bytes, got null"),
        (
            BINARY | {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 32}},
            b"",
            "shared memory is not offered here",
        ),
    ],
)
def test_binary_data_must_be_as_long_as_promised(tensor: Any, tail: bytes, message: str) -> None:
    head = body(tensor)
    assert message in refusal(head + tail, length=len(head)).message


@pytest.mark.parametrize("length", [9999, -5])
def test_a_header_length_beyond_the_body_is_refused(length: int) -> None:
    assert "inference header size should be in range (0, " in refusal(body(GOOD), length=length).message


@pytest.mark.parametrize(
    "raw", [b"\x05\0\0\0ab", b"\x01\0\0", b"\x01\0\0\0a\x01\0\0\0b", b"\xff\xff\xff\xffa", b""]
)
def test_damaged_bytes_tensors_are_refused(raw: bytes) -> None:
    served = model([spec("t", "BYTES", -1)])
    tensor = {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = body(tensor)
    assert refusal(head + raw, served, length=len(head)).path == "inputs[0].parameters.binary_data_size"


def test_bool_bytes_other_than_0_and_1_are_refused() -> None:
    served = model([spec("t", "BOOL", -1)])
    head = body({"name": "t", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}})
    assert "bytes 0 or 1" in refusal(head + b"\x01\x02", served, length=len(head)).message


def test_a_raw_body_is_the_only_input_with_a_batch_of_one() -> None:
    query = parse_infer(np.arange(4.0).tobytes(), 0, IRIS)
    assert to_array(query.inputs[0]).tolist() == [[0, 1, 2, 3]]
    rendered = query.render((Tensor("label", "INT64", (1,), bytes(8)),))
    assert rendered.json_length is not None
    image = model([spec("i", "FP32", -1, 3, -1)])
    assert parse_infer(bytes(24), 0, image).inputs[0].shape == (1, 3, 2)
    assert "needs a model with one input" in refusal(b"x", model([]), length=0).message


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("UINT8", -1), ("INT64", 2**63), ("UINT64", -1), ("INT32", 2**31), ("FP32", 1e300)],
)
def test_numbers_out_of_range_are_refused(datatype: str, value: Any) -> None:
    served = model([spec("t", datatype, -1)])
    error = refusal(body({"name": "t", "shape": [2], "datatype": datatype, "data": [0, value]}), served)
    assert error.path == "inputs[0].data[1]"


def test_whole_numbers_beyond_2_to_53_survive_also_as_text() -> None:
    served = model([spec("t", "INT64", -1)])
    values = [2**53 + 1, str(2**62 + 1), "-9223372036854775808"]
    query = parse_infer(body({"name": "t", "shape": [3], "datatype": "INT64", "data": values}), None, served)
    assert to_array(query.inputs[0]).tolist() == [int(v) for v in values]
    too_much = body({"name": "t", "shape": [1], "datatype": "INT64", "data": ["99999999999999999999"]})
    assert "out of range" in refusal(too_much, served).message


def test_half_precision_has_no_json_form() -> None:
    served = model([spec("t", "FP16", -1)])
    assert (
        "as binary data"
        in refusal(body({"name": "t", "shape": [1], "datatype": "FP16", "data": [1]}), served).message
    )


@pytest.mark.parametrize("shape", [[0, 4], [0]])
def test_tensors_without_elements_are_tensors(shape: list[int]) -> None:
    query = parse_infer(body({"name": "t", "shape": shape, "datatype": "FP64", "data": []}), None, ANYTHING)
    assert to_array(query.inputs[0]).shape == tuple(shape)


def test_columns_of_a_table_must_be_equally_long() -> None:
    served = model([spec("a", "INT64", -1), spec("b", "INT64", -1)])
    tensors = [
        {"name": n, "shape": [s], "datatype": "INT64", "data": [1] * s} for n, s in (("a", 2), ("b", 3))
    ]
    error = refusal(body(*tensors), served)
    assert error.path == "inputs[1].shape"


def test_an_empty_id_is_no_id_and_another_is_echoed() -> None:
    outputs = (Tensor("label", "INT64", (1,), bytes(8)),)
    for identity, echoed in (("", None), ("q-1", "q-1")):
        query = parse_infer(body(GOOD, id=identity), None, IRIS, name="iris@test")
        answer = orjson.loads(query.render(outputs).parts[0])
        assert answer.get("id") == echoed
        assert answer["model_name"] == "iris@test"


def test_timeouts_are_microseconds_and_0_is_none() -> None:
    assert parse_infer(body(GOOD, parameters={"timeout": 1500}), None, IRIS).timeout_seconds == 0.0015
    assert parse_infer(body(GOOD, parameters={"timeout": 0}), None, IRIS).timeout_seconds is None


def test_an_output_may_override_the_requests_wish_for_binary_data() -> None:
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "label"}]
    query = parse_infer(body(GOOD, outputs=outputs, parameters={"binary_data_output": True}), None, IRIS)
    label, probabilities = np.array([1]), np.array([[0.25, 0.5, 0.25]])
    rendered = query.render((from_array("label", label), from_array("probabilities", probabilities)))
    answer = orjson.loads(rendered.parts[0])
    assert answer["outputs"][0]["data"] == [0.25, 0.5, 0.25]
    assert answer["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert rendered.parts[1] == label.tobytes()
    assert rendered.json_length == len(rendered.parts[0])


@pytest.mark.parametrize(
    "tensor",
    [
        from_array("y", np.array([1.0, np.nan])),
        from_array("y", np.array([np.inf], "f4")),
        from_array("y", np.full(500, -np.inf)),
        Tensor("y", "BYTES", (1,), encode_bytes([b"\xff"])),
    ],
)
def test_an_answer_without_json_form_is_refused_with_the_remedy(tensor: Tensor) -> None:
    with pytest.raises(Rejected, match="ask for binary output"):
        render_response((tensor,), name="m", version="1", wishes=Wishes())
    rendered = render_response((tensor,), name="m", version="1", wishes=Wishes("", True))
    assert rendered.parts[1] == tensor.data


def test_an_output_that_the_model_did_not_give_is_refused() -> None:
    with pytest.raises(Rejected, match='unknown output "z"'):
        render_response((), name="m", version="1", wishes=Wishes("", False, (Wish("z", binary=False),)))


shapes = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
numbers = st.sampled_from(sorted(set(DTYPES) - {"FP16"})).flatmap(
    lambda name: (
        arrays.arrays(DTYPES[name], shapes, elements={"allow_nan": False, "allow_infinity": False})
        if name.startswith("FP")
        else arrays.arrays(DTYPES[name], shapes)
    )
)
texts = arrays.arrays(object, shapes, elements=st.text(max_size=5).map(str.encode))


@given(st.one_of(numbers, texts), st.booleans())
def test_tensors_survive_json_and_binary_both_ways(array: np.ndarray[Any, Any], binary: bool) -> None:
    tensor = from_array("t", array)
    assert to_array(tensor).tolist() == array.tolist()
    rendered = render_response((tensor,), name="m", version="1", wishes=Wishes("", binary))
    document = orjson.loads(rendered.parts[0])
    document["inputs"] = document.pop("outputs")
    head = orjson.dumps(document)
    query = parse_infer(head + b"".join(rendered.parts[1:]), len(head) if binary else None, ANYTHING)
    assert query.inputs[0] == tensor


def test_bytes_with_nulls_and_empty_elements_survive() -> None:
    elements = [b"", b"\0\0", b"\xff\0", b"x" * 70_000]
    tensor = from_array("t", object_array(elements))
    assert to_array(tensor).tolist() == elements


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "x"]) | junk,
        "shape": st.lists(st.integers(-2, 2**62), max_size=40) | st.just([1, 4]) | junk,
        "datatype": st.sampled_from(["FP64", "BYTES", "BF16"]) | junk,
        "data": junk,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 99) | junk})
        | junk,
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(tensors | junk, max_size=3) | junk,
        "outputs": junk,
        "id": junk,
        "parameters": junk,
    },
)


@settings(max_examples=150)
@given(requests, st.binary(max_size=64), st.integers(-2, 300) | st.none(), st.sampled_from([IRIS, ANYTHING]))
def test_no_request_however_odd_raises_anything_but_a_rejection(
    document: Any, tail: bytes, length: int | None, served: ServedModel
) -> None:
    try:
        head = orjson.dumps(document)
    except TypeError:
        return
    for content in (head + tail, tail, head):
        for header in (length, len(head)):
            with contextlib.suppress(Rejected):
                parse_infer(content, header, served)
