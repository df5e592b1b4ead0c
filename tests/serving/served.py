"""Models that the tests of dialects ask, and what their signatures say."""

from __future__ import annotations

from typing import Any

TABLE_CODE = """
import numpy as np
def predict(inputs):
    x = inputs["input"]
    scores = np.stack([x[:, 0], x[:, 1] * 2, x[:, 2] - x[:, 0]], axis=1)
    return {"label": scores.argmax(axis=1).astype("int64"), "probabilities": scores}
"""
TABLE: dict[str, Any] = {
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 3], "columns": ["a", "b", "c"]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3], "columns": ["x", "y", "z"]},
    ],
}

MIXED_CODE = """
import numpy as np
def predict(inputs):
    lengths = np.array([len(city) for city in inputs["city"]], "float64")
    return {"prediction": inputs["age"] + lengths + inputs["income"]}
"""
MIXED: dict[str, Any] = {
    "inputs": [
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "city", "datatype": "BYTES", "shape": [-1]},
        {"name": "income", "datatype": "FP64", "shape": [-1]},
    ],
    "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [-1]}],
}

TEXT_CODE = """
def text(value):
    return value.decode() if isinstance(value, bytes) else value
def predict(inputs):
    found = [text(value) for value in inputs["text_input"].ravel()]
    return {"text_output": [value.upper() for value in found]}
"""
TEXT: dict[str, Any] = {
    "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1]}],
}

VECTOR_CODE = """
import numpy as np
def predict(inputs):
    texts = inputs["text"].ravel()
    return {"embedding": np.array([[len(t), 0.5, -1.0] for t in texts], "float32")}
"""
VECTOR: dict[str, Any] = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 3]}],
}
