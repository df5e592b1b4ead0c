"""From output tensors back to rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from modelyard.oip.datatypes import BYTES, DTYPES, decode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.model import Rendered
from modelyard.oip.tensor import Tensor, object_array

DAAS_NAMES = {"label": "PredictedValue", "prediction": "PredictedValue", "probabilities": "Probabilities"}
"""What DaaS clients call the outputs of a table's model."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the rows came, and so how they go back."""

    envelope: str
    """Key that wraps the table; empty for none."""
    split: bool
    daas: bool
    rows: int


def render_table(outputs: Sequence[Tensor], *, orientation: Orientation) -> Rendered:
    """The answer as a table with one row for each row asked; NaN and infinity become null.

    Raises Rejected for an output that has no row for each row, or text that is not UTF-8.
    """
    names = [DAAS_NAMES.get(t.name, t.name) if orientation.daas else t.name for t in outputs]
    columns = [row_cells(tensor, orientation.rows) for tensor in outputs]
    rows: Any = zip(*columns, strict=True)
    table: Any
    if orientation.split:
        table = {"columns": names, "data": [list(row) for row in rows]}
    else:
        table = [dict(zip(names, row, strict=True)) for row in rows]
    return Rendered((orjson.dumps({orientation.envelope: table} if orientation.envelope else table),))


def row_cells(tensor: Tensor, rows: int) -> list[Any]:
    """One cell for each row: an element, or nested lists; raises Rejected when there is no such."""
    shape = tensor.shape
    if not shape or shape[0] != rows:
        raise Rejected(
            "",
            f'output "{tensor.name}" has shape {list(shape)}, not one row for each: use the infer endpoint',
        )
    if len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    cells: list[Any] = nested(tensor._replace(shape=shape))
    return cells


def nested(tensor: Tensor) -> Any:
    """The elements in lists as deep as the shape; raises Rejected for bytes that are not UTF-8."""
    shape = tensor.shape
    if tensor.datatype != BYTES:
        return np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(shape).tolist()
    try:
        texts: list[Any] = [
            element.decode() for element in decode_bytes(memoryview(tensor.data), tensor.elements)
        ]
    except UnicodeDecodeError:
        raise Rejected(
            "", f'output "{tensor.name}" holds bytes that are not UTF-8: use the infer endpoint'
        ) from None
    return object_array(texts).reshape(shape).tolist()
