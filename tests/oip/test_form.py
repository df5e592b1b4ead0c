"""Forms: files and values become tensors by the name of their field; every mistake is named."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.oip.errors import Rejected
from modelyard.oip.form import is_form, parse_fields
from modelyard.oip.model import Query
from modelyard.oip.multipart import MOST_PARTS, parse_form
from modelyard.oip.tensor import from_array, to_array
from tests.oip.models import ANYTHING, MIXED, model, spec

KIND = b"multipart/form-data; boundary=XyZ"
PHOTO = model([spec("photo", "BYTES", -1), spec("limit", "FP64", -1)])


def part(name: str, data: bytes, *, filename: str = "", kind: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    head = f'Content-Disposition: form-data; name="{name}"{file}\r\n'
    head += f"Content-Type: {kind}\r\n" if kind else ""
    return head.encode() + b"\r\n" + data


def form(*parts: bytes) -> bytes:
    return b"".join(b"--XyZ\r\n" + each + b"\r\n" for each in parts) + b"--XyZ--\r\n"


def tensors(query: Query) -> dict[str, Any]:
    return {tensor.name: to_array(tensor).tolist() for tensor in query.inputs}


def test_files_arrive_byte_for_byte_beside_values_of_the_declared_types() -> None:
    raw = bytes(range(256)) + b"\r\n--Xy\r\n\r\n"
    query = parse_fields(KIND, form(part("photo", raw, filename="a.png"), part("limit", b"0.5")), PHOTO)
    assert tensors(query) == {"photo": [raw], "limit": [0.5]}
    assert [tensor.datatype for tensor in query.inputs] == ["BYTES", "FP64"]


def test_a_field_that_is_there_twice_is_a_batch() -> None:
    body = form(
        part("photo", b"1", filename="a"), part("photo", b"", filename="b"),
        part("limit", b"1"), part("limit", b"2e1"),
    )  # fmt: skip
    assert tensors(parse_fields(KIND, body, PHOTO)) == {"photo": [b"1", b""], "limit": [1.0, 20.0]}


def test_without_a_signature_text_stays_text_and_json_has_its_own_types() -> None:
    body = form(
        part("text", "Köln".encode()), part("n", b"3", kind="application/json"),
        part("table", b"[[1, 2.5]]", kind="application/json"),
        part("meta", b'{"a": 1}', kind="application/json"),
        part("parameters", b'{"top": 3}', kind="application/json"),
    )  # fmt: skip
    query = parse_fields(KIND, body, ANYTHING)
    assert tensors(query) == {
        "text": ["Köln".encode()],
        "n": [3],
        "table": [[1.0, 2.5]],
        "meta": [b'{"a":1}'],
    }
    assert query.parameters == {"top": 3}


@pytest.mark.parametrize(
    "kind", [b'Multipart/Form-Data; charset=utf-8; boundary="XyZ"', b"multipart/form-data;boundary=XyZ"]
)
def test_the_boundary_may_be_quoted(kind: bytes) -> None:
    assert is_form(kind)
    assert parse_form(kind, b"preamble\r\n" + form(part('a%22"b'.replace('"', ""), b"1")))[0].name == 'a"b'


def test_answers_are_rows_where_every_output_has_one_for_each() -> None:
    query = parse_fields(KIND, form(part("photo", b"1", filename="a"), part("limit", b"1")), PHOTO)
    one = from_array("label", np.array(["cat"], object))
    boxes = from_array("boxes", np.zeros((2, 4)))
    assert orjson.loads(query.render((one,)).parts[0]) == {"rows": [{"label": "cat"}]}
    assert orjson.loads(query.render((one, boxes)).parts[0]) == {
        "outputs": {"label": ["cat"], "boxes": [[0.0] * 4] * 2}
    }


GOOD = form(part("photo", b"1", filename="a"), part("limit", b"1"))
MISTAKES: dict[str, tuple[bytes, bytes, str, str]] = {
    "no boundary": (b"multipart/form-data", GOOD, "headers.Content-Type", "with a boundary"),
    "another kind": (b"multipart/mixed; boundary=XyZ", GOOD, "headers.Content-Type", "expected multipart"),
    "empty": (KIND, b"", "", "no part"),
    "only an end": (KIND, b"--XyZ--\r\n", "", "the form has no part"),
    "cut": (KIND, GOOD[:-9], "", "ends in the middle of a part"),
    "no headers": (KIND, b"--XyZ\r\nabc\r\n--XyZ--\r\n", "parts[0]", "it has no headers"),
    "no name": (KIND, form(b"Content-Type: a/b\r\n\r\n1"), "parts[0]", "no `Content-Disposition"),
    "long name": (KIND, form(part("n" * 300, b"")), "parts[0]", "its name has 300 characters"),
    "many": (KIND, form(*[part("a", b"")] * (MOST_PARTS + 1)), "", f"more than {MOST_PARTS} parts"),
    "unknown field": (KIND, form(part("fhoto", b"1", filename="a")), "fhoto", 'unknown input "fhoto"'),
    "missing field": (KIND, form(part("photo", b"1", filename="a")), "form", 'missing "limit"'),
    "file for a number": (KIND, form(part("limit", b"1", filename="a")), "limit", "got a file"),
    "no number": (KIND, form(part("limit", b"much")), "limit", 'expected FP64, got "much"'),
    "no text": (KIND, form(part("photo", b"\xff")), "photo", "this text is not UTF-8; send it as a file"),
    "no json": (KIND, form(part("limit", b"{", kind="application/json")), "limit", "this part is not JSON"),
    "both": (KIND, form(part("photo", b"1"), part("photo", b"1", filename="a")), "photo", "send it one way"),
    "parameters": (KIND, form(part("parameters", b"[1]")), "parameters", "expected an object"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_in_a_form_is_named(name: str) -> None:
    kind, body, path, message = MISTAKES[name]
    with pytest.raises(Rejected) as caught:
        parse_fields(kind, body, PHOTO)
    assert caught.value.path == path
    assert message in caught.value.message


def test_columns_that_differ_in_length_are_refused() -> None:
    body = form(part("age", b"1"), part("age", b"2"), part("city", b"x"), part("income", b"1"))
    with pytest.raises(Rejected, match="equally long"):
        parse_fields(KIND, body, MIXED)


@given(
    st.binary(max_size=400) | st.lists(st.sampled_from([b"--XyZ", b"\r\n", b"--", b"a", GOOD])).map(b"".join)
)
def test_no_body_does_more_than_be_refused(body: bytes) -> None:
    with contextlib.suppress(Rejected):
        parse_fields(KIND, body, ANYTHING)
