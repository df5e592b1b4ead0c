"""OpenAI's embeddings: texts in, one vector for each out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson

from modelyard.oip.datatypes import BYTES, DTYPES, decode_bytes
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.generate import one_text
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.signature import Signature, TensorSpec
from modelyard.oip.tensor import Tensor
from modelyard.oip.v1 import object_in

EXPECTED = 'an object such as {"model":"m","input":["a text"]}'
TASK = "feature-extraction"
MOST_TEXTS = 2048
TOKENS = "tokens"
"""An output of this name, a number for each text, is what usage counts."""


class _Style(NamedTuple):
    """How the answer is written."""

    model: str
    base64: bool
    texts: tuple[str, ...]


def gives_embeddings(model: ServedModel) -> bool:
    """Whether the model turns text into vectors: it says so, or has one text input and an `embedding`."""
    return _text_input(model.signature) is not None and (
        model.task == TASK or any(spec.name == "embedding" for spec in model.signature.outputs)
    )


def parse_embeddings(body: bytes, model: ServedModel) -> Query:
    """Read a request; raises Rejected with the place of the mistake."""
    document = object_in(body, EXPECTED)
    spec = _text_input(model.signature)
    if spec is None or not gives_embeddings(model):
        raise Rejected("model", f'"{model.name}" gives no embeddings: it has no text input or no such task')
    texts = _texts(document.get("input"))
    style = document.get("encoding_format", "float")
    if style not in ("float", "base64"):
        raise Rejected("encoding_format", f'expected "float" or "base64", got {shown(style)}')
    _check_dimensions(document.get("dimensions"), model.signature)
    name = document.get("model")
    answered = _Style(name if isinstance(name, str) else model.name, style == "base64", texts)
    return Query((one_text(spec, [text.encode() for text in texts]),), partial(_render, style=answered))


def words_in(texts: Sequence[str]) -> int:
    """What usage counts for a model that does not count tokens itself: words between white space."""
    return sum(len(text.split()) for text in texts)


def _text_input(signature: Signature) -> TensorSpec | None:
    inputs = signature.inputs
    return inputs[0] if len(inputs) == 1 and inputs[0].datatype == BYTES else None


def _texts(given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise Rejected("input", f"expected a text or a list of texts, got {shown(given)}")
    if len(texts) > MOST_TEXTS:
        raise Rejected("input", f"has {len(texts)} texts, at most {MOST_TEXTS} are possible")
    for index, text in enumerate(texts):
        if isinstance(text, (int, list)):
            raise Rejected("input", "tokens are not understood: send text")
        if not isinstance(text, str) or not text:
            raise Rejected(f"input[{index}]", f"expected a text, got {shown(text)}")
    return tuple(texts)


def _check_dimensions(asked: Any, signature: Signature) -> None:
    if asked is None:
        return
    spec = _vector_spec(signature)
    size = spec.shape[-1] if spec is not None and spec.shape else -1
    if type(asked) is not int or asked != size:
        has = f"this model's embeddings have {size}" if size > 0 else "this model decides it"
        raise Rejected("dimensions", f"cannot be chosen, {has}: leave it out")


def _vector_spec(signature: Signature) -> TensorSpec | None:
    floats = [spec for spec in signature.outputs if spec.datatype.startswith("FP")]
    return next((spec for spec in floats if spec.name == "embedding"), floats[0] if floats else None)


def _render(outputs: Sequence[Tensor], *, style: _Style) -> Rendered:
    vectors = _vectors(outputs, len(style.texts))
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, style)}
        for index, vector in enumerate(vectors)
    ]
    tokens = _tokens(outputs, style.texts)
    answer = {
        "object": "list",
        "data": data,
        "model": style.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Rendered((orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY),))


def _vectors(outputs: Sequence[Tensor], count: int) -> Any:
    floats = [tensor for tensor in outputs if tensor.datatype.startswith("FP")]
    tensor = next((each for each in floats if each.name == "embedding"), floats[0] if floats else None)
    if tensor is None or not tensor.elements or tensor.shape[:1] != (count,):
        raise Rejected("model", "its answer holds no embedding for each text: use the infer endpoint")
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused below
        vectors = np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(count, -1).astype("<f4")
    if not np.isfinite(vectors).all():
        raise Rejected("model", "its embedding holds NaN or infinity, which JSON cannot carry")
    return vectors


def _written(vector: Any, style: _Style) -> Any:
    return base64.b64encode(vector.tobytes()).decode() if style.base64 else vector


def _tokens(outputs: Sequence[Tensor], texts: Sequence[str]) -> int:
    counted = next((t for t in outputs if t.name == TOKENS and "INT" in t.datatype), None)
    if counted is None:
        return words_in(texts)
    return int(np.frombuffer(counted.data, DTYPES[counted.datatype]).sum())


def first_text(tensor: Tensor) -> str:
    """All elements of a BYTES tensor as one text; raises Rejected when it is not UTF-8."""
    try:
        return b"".join(decode_bytes(memoryview(tensor.data), tensor.elements)).decode()
    except UnicodeDecodeError:
        raise Rejected("", f'output "{tensor.name}" holds bytes that are not UTF-8') from None
