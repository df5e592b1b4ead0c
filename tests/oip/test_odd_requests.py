"""Whatever JSON a client sends, in any dialect: a query, or a rejection that names the place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.oip.chat import parse_completion
from modelyard.oip.embeddings import parse_embeddings
from modelyard.oip.errors import Rejected
from modelyard.oip.generate import parse_generate
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.invocations import parse_csv, parse_invocation
from modelyard.oip.tfs import parse_examples
from modelyard.oip.v1 import parse_filtered, parse_predict
from tests.oip.models import ANYTHING, IRIS, MIXED, model, spec

TEXT = model([spec("text_input", "BYTES", -1)], [spec("text_output", "BYTES", -1)])
VECTORS = model([spec("text", "BYTES", 1)], [spec("embedding", "FP32", -1, 2)])
MODELS = (IRIS, MIXED, ANYTHING, TEXT, VECTORS)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
)
NAMES = st.sampled_from(["a", "b", "c", "d", "age", "city", "income", "text_input", "b64", "name", "x", ""])
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KEYS = {
    "predict": ("instances", "inputs", "signature_name", "parameters"),
    "filtered": ("X", "filter", "args", "parameters"),
    "classify": ("examples", "context"),
    "invocation": ("dataframe_split", "dataframe_records", "instances", "inputs", "params"),
    "generate": ("text_input", "id", "parameters", "age", "city", "income"),
    "chat": ("model", "messages", "stream", "stop", "n", "max_tokens", "stream_options"),
    "completion": ("model", "prompt", "stream", "logprobs", "temperature"),
    "embeddings": ("model", "input", "dimensions", "encoding_format"),
    "pd": ("inputs", "parameters", "outputs"),
}


def pd(body: bytes, served: Any) -> Any:
    document = orjson.loads(body)
    if isinstance(document, dict):
        document["parameters"] = {"content_type": "pd"}
    return parse_infer(orjson.dumps(document), None, served)


PARSERS: dict[str, Callable[[bytes, Any], Any]] = {
    "predict": parse_predict,
    "filtered": parse_filtered,
    "classify": partial(parse_examples, classify=True),
    "invocation": parse_invocation,
    "generate": partial(parse_generate, name="m", stream=False),
    "chat": partial(parse_completion, chat=True, identity="i", created=1),
    "completion": partial(parse_completion, chat=False, identity="i", created=1),
    "embeddings": parse_embeddings,
    "pd": pd,
}


def tensors(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    tensor = st.fixed_dictionaries(
        {
            "name": names,
            "datatype": st.sampled_from(["FP64", "INT64", "BYTES", "BOOL"]),
            "shape": st.lists(st.integers(0, 3), max_size=3),
            "data": st.lists(SCALAR, max_size=4),
        }
    )
    return st.lists(tensor, max_size=4)


@pytest.mark.parametrize("dialect", PARSERS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_document_however_odd_raises_anything_but_a_rejection(dialect: str, data: st.DataObject) -> None:
    keyed = st.fixed_dictionaries({}, optional={key: VALUE for key in KEYS[dialect]})
    if dialect == "pd":
        keyed |= st.fixed_dictionaries({"inputs": tensors(NAMES)})
    document = data.draw(keyed | VALUE)
    for served in MODELS:
        try:
            query = PARSERS[dialect](orjson.dumps(document), served)
        except Rejected:
            continue
        assert query.inputs


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.sampled_from('ab,"\n\r1.-e ;x'), max_size=30) | st.binary(max_size=20))
def test_no_csv_however_odd_raises_anything_but_a_rejection(text: Any) -> None:
    body = text if isinstance(text, bytes) else text.encode()
    for served in MODELS:
        try:
            query = parse_csv(body, served)
        except Rejected:
            continue
        assert query.inputs
