"""The rows dialect: tables in, tables of the same orientation out."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.oip.datatypes import encode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.rows import parse_rows
from modelyard.oip.tensor import Tensor, from_array, to_array
from tests.oip.models import ANYTHING, IRIS, MIXED, model, spec
from tests.oip.test_infer import junk

RECORDS = [{"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 5, "b": 6, "c": 7, "d": 8.5}]
SHUFFLED = {"columns": ["d", "a", "c", "b"], "data": [[4, 1, 3, 2], [8.5, 5, 7, 6]]}
PLAIN = [[1, 2, 3, 4], [5, 6, 7, 8.5]]
ANSWER = (from_array("label", np.array([0, 2])), from_array("probabilities", np.array([[0.5, 0.5], [0, 1]])))


def parsed(document: Any, served: ServedModel = IRIS) -> Query:
    return parse_rows(orjson.dumps(document), served)


def answer(query: Query) -> Any:
    return orjson.loads(query.render(ANSWER).parts[0])


@pytest.mark.parametrize("table", [RECORDS, SHUFFLED, PLAIN])
@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: {"rows": t}, lambda t: {"X": t}, lambda t: {"args": {"X": t}}]
)
def test_every_orientation_is_the_same_tensor(table: Any, wrap: Any) -> None:
    assert to_array(parsed(wrap(table)).inputs[0]).tolist() == PLAIN


def test_daas_records_are_answered_as_records_with_daas_names() -> None:
    assert answer(parsed({"args": {"X": RECORDS, "model_name": "iris", "model_version": "1"}})) == {
        "result": [
            {"PredictedValue": 0, "Probabilities": [0.5, 0.5]},
            {"PredictedValue": 2, "Probabilities": [0, 1]},
        ]
    }


def test_daas_split_is_answered_as_split() -> None:
    assert answer(parsed({"args": {"X": SHUFFLED}})) == {
        "result": {"columns": ["PredictedValue", "Probabilities"], "data": [[0, [0.5, 0.5]], [2, [0, 1]]]}
    }


def test_plain_forms_are_answered_with_the_signatures_names() -> None:
    records = [{"label": 0, "probabilities": [0.5, 0.5]}, {"label": 2, "probabilities": [0, 1]}]
    assert answer(parsed(RECORDS)) == records
    assert answer(parsed(PLAIN)) == records
    assert answer(parsed({"rows": RECORDS})) == {"rows": records}
    assert answer(parsed(SHUFFLED)) == {
        "columns": ["label", "probabilities"],
        "data": [[0, [0.5, 0.5]], [2, [0, 1]]],
    }


def test_columns_of_several_types_become_a_tensor_each() -> None:
    query = parsed(
        [{"city": "Köln", "age": 3.0, "income": None}, {"city": "", "age": True, "income": 2}], MIXED
    )
    age, city, income = (to_array(tensor).tolist() for tensor in query.inputs)
    assert age == [3, 1]
    assert city == ["Köln".encode(), b""]
    assert np.isnan(income[0])
    assert income[1] == 2


def test_a_column_of_nested_lists_is_one_tensor() -> None:
    served = model([spec("image", "FP32", -1, 2, 2)])
    for table in ([{"image": [[1, 2], [3, 4]]}], [[[1, 2], [3, 4]]]):
        assert to_array(parsed(table, served).inputs[0]).tolist() == [[[1, 2], [3, 4]]]


def test_columns_of_shape_n_by_1_take_scalars_and_give_scalars() -> None:
    served = model([spec("a", "FP32", -1, 1), spec("b", "BYTES", -1, 1)])
    query = parsed([{"a": 1, "b": "x"}], served)
    assert [tensor.shape for tensor in query.inputs] == [(1, 1), (1, 1)]
    rendered = query.render((from_array("variable", np.array([[2.5]])),))
    assert orjson.loads(rendered.parts[0]) == [{"variable": 2.5}]


def test_a_model_without_signature_takes_columns_by_their_type() -> None:
    query = parsed([{"a": 1, "b": 1.5, "c": "x", "d": True}], ANYTHING)
    assert [tensor.datatype for tensor in query.inputs] == ["INT64", "FP64", "BYTES", "BOOL"]
    assert parsed([[1, 2]], ANYTHING).inputs[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"args": {"X": [{"a": 1, "b": 2, "c": 3, "d": "x"}]}}, "args.X[0].d", 'expected FP64, got "x"'),
        ({"args": {"X": [{"a": 1, "b": 2, "c": 3}]}}, "args.X", 'missing column "d"'),
        ({"args": {"X": [RECORDS[0] | {"e": 1}]}}, "args.X", 'unknown column "e"'),
        ({"args": {"X": [RECORDS[0], {"a": 1}]}}, "args.X[1]", 'column "b" is missing here'),
        ({"args": {"X": []}}, "args.X", "no rows"),
        ({"args": {}}, "args", 'expected an object with "X"'),
        ({"args": []}, "args", 'expected an object with "X"'),
        ({"args": {"X": 5}}, "args.X", "expected a list of rows"),
        ({"rows": [[1, 2, 3]]}, "rows[0]", "expected 4 values, got 3"),
        ({"rows": [[1, 2, 3, "x"]]}, "rows[0][3]", 'expected FP64, got "x"'),
        ({"rows": [5]}, "rows[0]", "expected a row"),
        (SHUFFLED | {"data": [[1, 2, 3]]}, "data[0]", "expected 4 values, got 3"),
        (SHUFFLED | {"columns": ["a", "a", "c", "b"]}, "columns", "twice"),
        (SHUFFLED | {"columns": "abcd"}, "columns", "expected a list of names"),
        (SHUFFLED | {"data": [[4, 1, "x", 2]]}, "data[0][2]", 'expected FP64, got "x"'),
        ({"columns": ["a"], "data": 5}, "data", "expected a list of rows"),
        ({}, "", "expected rows such as"),
        (5, "", "expected rows such as"),
        ([RECORDS[0], [1]], "[1]", "expected an object like the first row"),
    ],
)
def test_a_mistake_in_a_table_is_named_with_its_place(document: Any, path: str, message: str) -> None:
    with pytest.raises(Rejected) as caught:
        parsed(document)
    assert caught.value.path == path
    assert message in caught.value.message


@pytest.mark.parametrize("cell", [2.5, "x", None])
def test_cells_that_are_no_whole_numbers_are_refused_for_whole_numbers(cell: Any) -> None:
    with pytest.raises(Rejected, match="expected INT64"):
        parsed([{"city": "x", "age": cell, "income": 1}], MIXED)


def test_not_a_number_becomes_null_and_odd_outputs_are_refused() -> None:
    query = parsed([RECORDS[0]])
    rendered = query.render((from_array("y", np.array([np.nan])),))
    assert orjson.loads(rendered.parts[0]) == [{"y": None}]
    for tensor in (
        from_array("y", np.array([1.0, 2.0])),
        from_array("y", np.array(1.0)),
        Tensor("y", "BYTES", (1,), encode_bytes([b"\xff"])),
    ):
        with pytest.raises(Rejected, match="use the infer endpoint"):
            query.render((tensor,))


@settings(max_examples=150)
@given(
    junk
    | st.fixed_dictionaries({"args": st.fixed_dictionaries({"X": junk})})
    | st.fixed_dictionaries({"rows": st.lists(st.lists(junk, min_size=4, max_size=4), max_size=3)})
    | st.lists(st.fixed_dictionaries({"age": junk, "city": junk, "income": junk}), max_size=3)
    | st.fixed_dictionaries({"columns": junk, "data": junk}),
    st.sampled_from(
        [IRIS, MIXED, ANYTHING, model([spec("image", "FP32", -1, 2, 2)]), model([spec("t", "BYTES", 1)])]
    ),
)
def test_no_table_however_odd_raises_anything_but_a_rejection(document: Any, served: ServedModel) -> None:
    try:
        content = orjson.dumps(document)
    except TypeError:
        return
    with contextlib.suppress(Rejected):
        assert parse_rows(content, served).inputs
