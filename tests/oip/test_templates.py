"""The quick way through requests is the long way: same tensors, same refusals, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.oip.errors import Rejected
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.templates import LONG_BYTES, MOST, MOST_KEPT_BYTES, Templates
from tests.oip.models import ANYTHING

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.integers(-130, 300),
    st.sampled_from([2**53 + 1, 2**63, 2**64 - 1, 2**64, 3.4028235677973366e38, 1e39, 5e-324, -0.0]),
)
ODDITIES = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([]), st.just({}))
DATATYPES = st.sampled_from(["FP64", "FP32", "INT64", "INT32", "INT8", "UINT8", "UINT32", "UINT64", "BOOL"])


def request(data: Any, datatype: str, size: int, **more: Any) -> bytes:
    tensor = {"name": "x", "shape": [size], "datatype": datatype, "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def long_way(body: bytes, model: ServedModel = ANYTHING) -> Query | str:
    try:
        return parse_infer(body, None, model)
    except Rejected as error:
        return str(error)


def quick_way(templates: Templates, body: bytes) -> Query | str:
    query = templates.read(body)
    return long_way(body) if query is None else query


def same(one: Query | str, other: Query | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.inputs == other.inputs and one[2:] == other[2:]


def taught(datatype: str, size: int, **more: Any) -> Templates:
    templates = Templates()
    good = request([True if datatype == "BOOL" else 1] * size, datatype, size, **more)
    query = long_way(good)
    assert isinstance(query, Query)
    templates.learn(good, query)
    assert templates.read(good) is not None
    return templates


@settings(max_examples=400, deadline=None)
@given(
    DATATYPES, st.lists(st.one_of(NUMBERS, NUMBERS, NUMBERS, ODDITIES), min_size=1, max_size=8), st.booleans()
)
def test_every_list_is_read_as_the_long_way_reads_it(datatype: str, values: list[Any], long: bool) -> None:
    data = values * (LONG_BYTES if long else 1)
    body = request(data, datatype, len(data))
    assert same(quick_way(taught(datatype, len(data)), body), long_way(body))


@settings(max_examples=300, deadline=None)
@given(DATATYPES, st.lists(NUMBERS, min_size=1, max_size=60), st.data())
def test_a_damaged_document_is_refused_as_the_long_way_refuses_it(
    datatype: str, values: list[Any], data: st.DataObject
) -> None:
    body = bytearray(request(values, datatype, len(values)))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 3))] = data.draw(
        st.sampled_from([b"", b"[", b"]", b",", b'"', b"9", b".", b"-", b"e", b"NaN", b"\xff", b"\\", b"]}"])
    )
    assert same(quick_way(taught(datatype, len(values)), bytes(body)), long_way(bytes(body)))


@settings(deadline=None)
@given(st.lists(st.lists(NUMBERS, max_size=3), max_size=4))
@example([[1.0, 2.0], [3.0, 4.0]])
@example([[1.0], [2.0, 3.0, 4.0]])
def test_nested_lists_are_measured_against_the_shape(rows: list[list[Any]]) -> None:
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP64"}
    good = json.dumps({"inputs": [tensor | {"data": [[1, 2], [3, 4]]}]}).encode()
    query = long_way(good)
    assert isinstance(query, Query)
    templates = Templates()
    templates.learn(good, query)
    body = json.dumps({"inputs": [tensor | {"data": rows}]}).encode()
    assert same(quick_way(templates, body), long_way(body))


ROWS = 100
WIDE = st.lists(
    st.one_of(
        st.lists(NUMBERS, min_size=3, max_size=3),
        st.sampled_from([[], [1], [1, 2], [[1], 2, 3], [[1, 2], 3], 7, "a", None, {"a": 1}, [[], [1, 2], 3]]),
    ),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(WIDE, st.integers(0, ROWS))
@example([], 0)
@example([[[], [1, 2], 3]], 5)
def test_long_nested_lists_are_measured_against_the_shape(odd: list[Any], at: int) -> None:
    tensor = {"name": "x", "shape": [ROWS, 3], "datatype": "FP64"}
    rows: list[Any] = [[1.5, 2, 3]] * ROWS
    good = json.dumps({"inputs": [tensor | {"data": rows}]}).encode()
    query = long_way(good)
    assert isinstance(query, Query)
    templates = Templates()
    templates.learn(good, query)
    assert templates.read(good) is not None
    rows = [*rows[:at], *odd, *rows[at + len(odd) :]]
    body = json.dumps({"inputs": [tensor | {"data": rows}]}).encode()
    assert same(quick_way(templates, body), long_way(body))
    flat = [value for row in rows for value in (row if isinstance(row, list) else [row])]
    body = json.dumps({"inputs": [tensor | {"data": flat}]}).encode()
    assert same(quick_way(templates, body), long_way(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"d\\u0061ta":[2]}]}',
        b'{"inputs":[{"name":"data","shape":[1],"datatype":"FP64","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}',
        b'{"id":"17","inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":["1"]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},'
        b'{"name":"y","shape":[0],"datatype":"FP64","data":[]}]}',
    ],
)
def test_what_could_hide_a_second_list_is_not_learned(body: bytes) -> None:
    query = long_way(body)
    assert isinstance(query, Query)
    templates = Templates()
    templates.learn(body, query)
    assert templates.read(body) is None


def test_what_stands_around_the_elements_is_kept_to_the_byte() -> None:
    templates = taught("FP64", 2, outputs=[{"name": "y"}], parameters={"timeout": 5})
    body = request([3, 4], "FP64", 2, outputs=[{"name": "y"}], parameters={"timeout": 5})
    query = templates.read(body)
    assert query is not None
    assert (query.outputs, query.timeout_seconds) == (("y",), 5e-6)
    assert templates.read(request([3, 4], "FP64", 2, outputs=[{"name": "z"}])) is None
    assert templates.read(body + b" ") is None


def test_only_so_many_are_kept_and_a_new_signature_forgets_them() -> None:
    templates = Templates()
    for size in range(1, 3 * MOST):
        body = request([1] * size, "FP64", size)
        query = long_way(body)
        assert isinstance(query, Query)
        templates.learn(body, query)
    assert templates.read(request([2] * (3 * MOST - 1), "FP64", 3 * MOST - 1)) is not None
    assert templates.read(request([2], "FP64", 1)) is None
    templates.forget()
    assert templates.read(request([2] * (3 * MOST - 1), "FP64", 3 * MOST - 1)) is None


def test_a_list_beyond_what_the_parser_keeps_is_read_too() -> None:
    size = MOST_KEPT_BYTES // 4
    templates = taught("FP64", size)
    body = request([1.25] * size, "FP64", size)
    query = templates.read(body)
    assert query is not None
    assert query.inputs == parse_infer(body, None, ANYTHING).inputs
