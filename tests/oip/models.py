"""Models that the tests of this room speak for."""

from __future__ import annotations

from typing import Any

from modelyard.oip.model import ServedModel
from modelyard.oip.signature import compile_signature


def model(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]] | None = None) -> ServedModel:
    signature = compile_signature({"inputs": inputs, "outputs": outputs or []})
    return ServedModel("iris", "3", "sklearn", signature)


def spec(name: str, datatype: str, *shape: int, columns: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "columns": list(columns)}


IRIS = model(
    [spec("input", "FP64", -1, 4, columns=("a", "b", "c", "d"))],
    [spec("label", "INT64", -1), spec("probabilities", "FP64", -1, 3, columns=("x", "y", "z"))],
)
MIXED = model(
    [spec("age", "INT64", -1), spec("city", "BYTES", -1), spec("income", "FP64", -1)],
    [spec("prediction", "FP64", -1)],
)
ANYTHING = ServedModel("any", "1", "python", compile_signature(None))
