"""Whatever tensors a model gives, every dialect writes an answer or says why it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.oip.errors import Rejected
from modelyard.oip.infer_events import in_events
from modelyard.oip.tensor import from_array
from tests.oip.models import ANYTHING, IRIS, model, spec
from tests.oip.test_odd_requests import PARSERS, TEXT, VECTORS

DTYPES = st.sampled_from(["?", "u1", "<i8", "<u8", "<f2", "<f4", "<f8", "O"])
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
PLAIN = model([spec("text", "BYTES", -1)], [spec("embedding", "FP32", -1, 2)])
ROWS = [{"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 1, "b": 2, "c": 3, "d": 4}]
VALUES = [[1, 2, 3, 4], [5, 6, 7, 8]]
INPUT = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": [1, 2, 3, 4]}
WISHED = [{"name": "label", "parameters": {"classification": 2}}]
REQUESTS: list[tuple[str, Any, Any]] = [
    ("predict", {"instances": VALUES}, IRIS),
    ("predict", {"inputs": VALUES}, IRIS),
    ("filtered", {"X": ROWS}, IRIS),
    ("filtered", {"X": ROWS, "filter": ["label"]}, IRIS),
    ("classify", {"examples": ROWS}, IRIS),
    ("regress", {"examples": ROWS}, IRIS),
    ("invocation", {"instances": VALUES}, IRIS),
    ("invocation", {"inputs": VALUES}, IRIS),
    ("generate", {"text_input": "x"}, TEXT),
    ("chat", {"messages": [{"role": "user", "content": "x"}], "stream": True}, TEXT),
    ("completion", {"prompt": "x"}, TEXT),
    ("embeddings", {"input": "x"}, VECTORS),
    ("embeddings", {"input": ["x", "y"]}, PLAIN),
    ("infer", {"inputs": [INPUT], "outputs": WISHED}, ANYTHING),
    ("events", {"inputs": [INPUT]}, ANYTHING),
]


def parse(dialect: str, document: Any, served: Any) -> Any:
    from modelyard.oip.infer_request import parse_infer
    from modelyard.oip.tfs import parse_examples

    body = orjson.dumps(document)
    if dialect == "infer":
        return parse_infer(body, None, served)
    if dialect == "events":
        return in_events(parse_infer(body, None, served))
    if dialect == "regress":
        return parse_examples(body, served, classify=False)
    return PARSERS[dialect](body, served)


@st.composite
def outputs(draw: st.DrawFn) -> Any:
    names = draw(
        st.lists(
            st.sampled_from(["label", "probabilities", "text_output", "embedding", "tokens"]), unique=True
        )
    )
    tensors = []
    for name in names:
        dtype = draw(DTYPES)
        elements = st.binary(max_size=3) if dtype == "O" else None
        array = draw(arrays.arrays(np.dtype(dtype), draw(SHAPES), elements=elements))
        tensors.append(from_array(name, array))
    return tensors


@pytest.mark.parametrize(
    ("dialect", "document", "served"), REQUESTS, ids=[f"{r[0]}-{i}" for i, r in enumerate(REQUESTS)]
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_outputs=outputs())
def test_an_answer_however_odd_is_written_or_refused(
    dialect: str, document: Any, served: Any, given_outputs: Any
) -> None:
    query = parse(dialect, document, served)
    try:
        rendered = query.render(given_outputs)
    except Rejected:
        pass
    else:
        orjson.loads(b"".join(rendered.parts))
    if query.events is not None:
        try:
            part = query.events.part(given_outputs)
        except Rejected:
            return
        assert part.startswith(b"data: ")
        assert part.endswith(b"\n\n")
        assert part.count(b"\n") == 2
