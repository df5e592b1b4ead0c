"""Shapes of dialects, without a server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest

from modelyard.oip.chat import parse_completion
from modelyard.oip.classification import classified
from modelyard.oip.embeddings import gives_embeddings
from modelyard.oip.errors import Rejected
from modelyard.oip.instances import read_inputs, read_instances
from modelyard.oip.invocations import parse_csv, parse_invocation
from modelyard.oip.model import ServedModel
from modelyard.oip.model_config import model_configuration
from modelyard.oip.openapi import description
from modelyard.oip.problems import error_document
from modelyard.oip.signature import compile_signature
from modelyard.oip.tensor import from_array, to_array
from tests.oip.models import ANYTHING, IRIS, MIXED, model, spec

TEXT = model([spec("text_input", "BYTES", -1, 1)], [spec("text_output", "BYTES", -1, 1)])


def completion(**options: Any) -> Any:
    document = {"model": "m", "prompt": "hi", **options}
    return parse_completion(json.dumps(document).encode(), TEXT, chat=False, identity="i", created=1)


def test_options_of_completions_become_the_models_parameters() -> None:
    query = completion(max_tokens=7, temperature=0.5, seed=3, stop="x", presence_penalty=1)
    assert query.parameters == {
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "stop": '["x"]',
        "presence_penalty": 1,
    }
    assert query.inputs[0].shape == (1, 1)
    assert query.events is None


def test_options_that_ask_for_nothing_are_taken() -> None:
    assert completion(tools=[], logprobs=False, n=1, user="u", echo=False, suffix=None).parameters == {}


def test_a_stream_of_no_parts_still_ends() -> None:
    events = completion(stream=True).events
    assert events is not None
    last = events.last()
    assert b'"finish_reason":"stop"' in last
    assert last.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("values", "count", "labels", "expected"),
    [
        ([[0.1, 0.7, 0.2]], 2, ("a", "b", "c"), [[b"0.700000:1:b", b"0.200000:2:c"]]),
        ([[3, 1], [1, 3]], 1, (), [[b"3:0"], [b"3:1"]]),
        ([0.5, 1.5], 9, (), [b"1.500000:1", b"0.500000:0"]),
        ([[1.0, 1.0]], 2, ("a",), [[b"1.000000:0:a", b"1.000000:1"]]),
        ([[float("nan"), 1.0]], 1, (), [[b"1.000000:1"]]),
    ],
)
def test_the_highest_values_come_first(
    values: Any, count: int, labels: tuple[str, ...], expected: Any
) -> None:
    answer = classified(from_array("t", np.array(values)), count, labels, "t")
    assert to_array(answer).tolist() == expected


def test_texts_have_no_highest_values() -> None:
    with pytest.raises(Rejected, match="needs numbers"):
        classified(from_array("t", np.array(["a"], object)), 1, (), "t")


def test_without_a_signature_columns_are_guessed() -> None:
    asked = read_instances([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}], ANYTHING, "instances")
    assert [(t.name, t.datatype, t.shape) for t in asked.inputs] == [
        ("x", "INT64", (2,)),
        ("y", "BYTES", (2,)),
    ]
    asked = read_instances([[1, 2], [3, 4]], ANYTHING, "instances")
    assert asked.inputs[0].shape == (2, 2)


def test_bytes_in_base64_reach_the_tensor_as_they_are() -> None:
    row = {"age": 1, "city": {"b64": "AP8="}, "income": 2}
    asked = read_instances([row], MIXED, "instances")
    city = next(tensor for tensor in asked.inputs if tensor.name == "city")
    assert to_array(city).tolist() == [b"\0\xff"]
    asked = read_inputs({"age": [1], "city": [{"b64": "AP8="}], "income": [2]}, MIXED, "inputs")
    assert to_array(asked.inputs[1]).tolist() == [b"\0\xff"]


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    body = b'{"instances":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(Rejected):
        parse_invocation(body, IRIS)


def test_csv_is_read_by_the_types_of_the_models_columns() -> None:
    inputs = parse_csv(b'age,city,income\n41,"St. Gall, CH",\n5,12,1e3\n', MIXED).inputs
    values = {tensor.name: to_array(tensor).tolist() for tensor in inputs}
    assert values["age"] == [41, 5]
    assert values["city"] == [b"St. Gall, CH", b"12"]
    assert np.isnan(values["income"][0])
    assert values["income"][1] == 1000.0


def test_csv_without_a_signature_is_read_by_how_it_looks() -> None:
    inputs = parse_csv(b"n,t\n1,x\n2,y\n", ANYTHING).inputs
    assert [(tensor.name, tensor.datatype) for tensor in inputs] == [("n", "INT64"), ("t", "BYTES")]


def test_dims_are_without_a_batch_only_when_every_tensor_has_one() -> None:
    assert model_configuration(IRIS, "iris")["input"][0]["dims"] == [4]
    fixed = model([spec("x", "FP32", 2, 3)], [spec("y", "FP32", 2)])
    config = model_configuration(fixed, "fixed")
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [2, 3])
    assert model_configuration(MIXED, "m")["input"][1]["data_type"] == "TYPE_STRING"
    assert model_configuration(ANYTHING, "any")["max_batch_size"] == 0


@pytest.mark.parametrize(
    ("task", "output", "gives"),
    [("", "embedding", True), ("feature-extraction", "vector", True), ("", "vector", False)],
)
def test_embeddings_are_offered_by_name_or_task(task: str, output: str, gives: bool) -> None:
    document = {"inputs": [spec("t", "BYTES", -1)], "outputs": [spec(output, "FP32", -1, 2)]}
    served = ServedModel("m", "1", "python", compile_signature(document), task)
    assert gives_embeddings(served) is gives


@pytest.mark.parametrize("served", [IRIS, MIXED, ANYTHING, TEXT])
def test_the_description_of_a_model_has_what_it_refers_to(served: ServedModel) -> None:
    document = description(served, "m")
    text = orjson.dumps(document).decode()
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    assert "/v2/models/m/infer" in document["paths"]


def test_errors_look_as_each_family_of_clients_expects() -> None:
    def at(target: bytes) -> dict[str, Any]:
        return error_document(target, 400, message="no", code="invalid", reason="", path="x")

    assert at(b"/v2/models/m/infer") == {"error": "no", "code": "invalid", "path": "x"}
    assert at(b"/invocations?x=1")["error_code"] == "BAD_REQUEST"
    openai = {"message": "no", "type": "invalid_request_error", "param": "x", "code": "invalid"}
    assert at(b"/openai/v1/models/m")["error"] == openai
    assert at(b"/v1/embeddings")["error"] == openai
