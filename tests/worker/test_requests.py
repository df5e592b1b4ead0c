"""Rows, records, tables and named inputs become the same tensors, and mistakes are named exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard_worker import requests, signatures
from modelyard_worker.failures import Failure

TABLE = [signatures.spec("input", "FP64", [-1, 3], ["a", "b", "c"])]
COLUMNS = [signatures.spec("age", "INT64", [-1]), signatures.spec("city", "BYTES", [-1])]
IMAGE = [signatures.spec("pixels", "FP32", [-1, 2, 2])]
TEXTS = [signatures.spec("input", "BYTES", [-1])]


@pytest.mark.parametrize(
    "request_",
    [
        {"inputs": {"input": [[1, 2, 3]]}},
        {"rows": [[1, 2, 3]]},
        {"rows": [1, 2, 3]},
        {"rows": [{"c": 3, "a": 1, "b": 2}]},
        {"rows": {"c": 3, "a": 1, "b": 2}},
        {"rows": {"columns": ["b", "a", "c"], "data": [[2, 1, 3]]}},
    ],
)
def test_every_form_of_one_row_is_the_same_tensor(request_: dict[str, Any]) -> None:
    found = requests.tensors(request_, TABLE)
    assert list(found) == ["input"]
    assert found["input"].dtype == np.float64
    assert found["input"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    "request_",
    [
        {"rows": [[44, "Delft"]]},
        {"rows": [44, "Delft"]},
        {"rows": [{"city": "Delft", "age": 44}]},
        {"rows": {"columns": ["city", "age"], "data": [["Delft", 44]]}},
        {"inputs": {"age": [44], "city": ["Delft"]}},
    ],
)
def test_mixed_rows_become_one_tensor_per_column(request_: dict[str, Any]) -> None:
    found = requests.tensors(request_, COLUMNS)
    assert found["age"].tolist() == [44]
    assert found["city"].tolist() == [b"Delft"]


def test_texts_and_images_are_rows_as_they_are() -> None:
    assert requests.tensors({"rows": ["één", "b"]}, TEXTS)["input"].tolist() == ["één".encode(), b"b"]
    assert requests.tensors({"rows": [["a"], ["b"]]}, TEXTS)["input"].shape == (2,)
    assert requests.tensors({"rows": [[[1, 2], [3, 4]]]}, IMAGE)["pixels"].dtype == np.float32


def test_null_is_nan_among_floating_point_numbers() -> None:
    assert np.isnan(requests.tensors({"rows": [[1, None, 3]]}, TABLE)["input"][0, 1])


def test_without_a_signature_the_values_decide() -> None:
    found = requests.tensors({"rows": [{"n": 1, "x": 1.5, "s": "a", "b": True}]}, ())
    assert {name: array.dtype.kind for name, array in found.items()} == {
        "n": "i",
        "x": "f",
        "s": "O",
        "b": "b",
    }


@pytest.mark.parametrize(
    ("request_", "specs", "message"),
    [
        ({"inputs": {"input": [[1, 2, "a"]]}}, TABLE, 'inputs.input[0][2]: expected FP64, got "a"'),
        ({"inputs": {"input": [[1, 2, True]]}}, TABLE, None),
        ({"inputs": {"inputs": [[1, 2, 3]]}}, TABLE, "inputs.inputs: unknown; expected input"),
        ({"inputs": {"input": [[1, 2], [3]]}}, TABLE, "inputs.input: rows differ in length"),
        ({"inputs": {"age": [1.5], "city": ["x"]}}, COLUMNS, "inputs.age[0]: expected INT64, got 1.5"),
        ({"inputs": {"age": [2**70], "city": ["x"]}}, COLUMNS, "is out of range for INT64"),
        (
            {"inputs": {"age": [1], "city": [None]}},
            COLUMNS,
            "inputs.city[0]: expected a string (BYTES), got null",
        ),
        ({"rows": [[1, 2]]}, TABLE, "rows[0]: expected 3 columns, got 2"),
        ({"rows": [[1, 2, 3], [1]]}, TABLE, "rows[1]: expected 3 columns, got 1"),
        ({"rows": [{"a": 1, "b": 2}]}, TABLE, 'rows[0]: missing column "c"; expected a, b, c'),
        (
            {"rows": [{"a": 1, "b": 2, "c": 3, "d": 4}]},
            TABLE,
            'rows[0]: unknown column "d"; expected a, b, c',
        ),
        ({"rows": []}, TABLE, "rows: expected a list with at least one row"),
        ({"rows": 3}, TABLE, "rows: expected a list with at least one row"),
        ({"rows": {"columns": ["a", "b"], "data": []}}, TABLE, "rows: expected a list with at least one row"),
        ({"rows": {"columns": ["a"], "data": [3]}}, TABLE, "rows[0]: expected a list of 1 values"),
        ({"row": 3}, TABLE, 'the request needs "inputs" (name to nested lists) or "rows"'),
        ({"rows": [[1, 2, 3], {"a": 1}]}, TABLE, "rows[1]: expected a list of 3 values"),
        ({"inputs": {"input": [[1, {"a": 1}, 2]]}}, TABLE, 'inputs.input[0][1]: expected FP64, got {"a": 1}'),
    ],
)
def test_a_mistake_is_named_where_it_is(request_: dict[str, Any], specs: Any, message: str | None) -> None:
    if message is None:
        assert requests.tensors(request_, specs)["input"].tolist() == [[1.0, 2.0, 1.0]]
        return
    with pytest.raises(Failure) as raised:
        requests.tensors(request_, specs)
    assert raised.value.reason == "SignatureMismatch"
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "inputs.input: expected 3 columns, got 4"),
        (np.zeros(3), "inputs.input: expected 2 dimensions [-1, 3], got [3]"),
        (np.asarray([["a", "b", "c"]], dtype=object), "inputs.input: expected FP64, got BYTES"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(array: Any, message: str) -> None:
    with pytest.raises(Failure, match="inputs") as raised:
        signatures.check(TABLE, {"input": array})
    assert raised.value.message == message


def test_unknown_and_missing_tensors_are_named() -> None:
    with pytest.raises(Failure, match=r"inputs\.input: missing; expected input"):
        signatures.check(TABLE, {})
    with pytest.raises(Failure, match=r"inputs\.more: unknown; expected input"):
        signatures.check(TABLE, {"input": np.zeros((1, 3)), "more": np.zeros(1)})
