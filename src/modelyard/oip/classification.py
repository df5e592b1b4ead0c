"""The classification extension: the highest values of an output, with their index and label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.oip.datatypes import BYTES
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.tensor import Tensor, from_array, to_array

MOST_CLASSES = 1 << 20


def classes_at(parameters: dict[str, Any], path: str) -> int:
    """How many classes an output's parameters ask for; 0 for the tensor itself. Raises Rejected."""
    count = parameters.get("classification", 0)
    if type(count) is not int or not 0 <= count <= MOST_CLASSES:
        raise Rejected(f"{path}.classification", f"expected a number of classes, got {shown(count)}")
    return count


def classified(tensor: Tensor, count: int, labels: Sequence[str], path: str) -> Tensor:
    """The `count` highest values of each row as BYTES `value:index[:label]`, the highest first.

    The first dimension is the batch; a one-dimensional output is one row. Raises Rejected for an output
    that is not of numbers.
    """
    if tensor.datatype in (BYTES, "BOOL"):
        raise Rejected(path, f'classification needs numbers, output "{tensor.name}" is {tensor.datatype}')
    values = to_array(tensor)
    batch = values.shape[0] if values.ndim > 1 else 1
    rows = values.reshape(batch, values.size // batch if batch else 0)
    count = min(count, rows.shape[1])
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = [
        [_text(row[at], int(at), labels) for at in indexes] for row, indexes in zip(rows, order, strict=True)
    ]
    shape = (rows.shape[0], count) if values.ndim > 1 else (count,)
    array = np.empty(shape, object)
    array.reshape(-1)[:] = [text for row in texts for text in row]
    return from_array(tensor.name, array)


def _text(value: Any, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if isinstance(value, np.floating) else str(value)
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{number}:{index}{label}".encode()
