"""`parameters.content_type`: what the elements of an input mean, in the words of MLServer's codecs.

| content type | meaning                                                                    |
|--------------|----------------------------------------------------------------------------|
| `np`         | a tensor, as it stands                                                     |
| `pd`         | of a whole request: each input is a column of a table                      |
| `str`        | BYTES elements are UTF-8 text                                              |
| `base64`     | BYTES elements are base64; the model gets the bytes that they stand for    |
| `datetime`   | BYTES elements are ISO 8601 dates                                          |
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from modelyard.oip.datatypes import BYTES, decode_bytes, encode_bytes
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.rows_tensors import tensors_for
from modelyard.oip.signature import Signature
from modelyard.oip.tensor import Tensor, to_array

KNOWN = ("np", "pd", "str", "base64", "datetime")


def content_type_at(parameters: dict[str, Any], path: str) -> str:
    """The content type that parameters give, empty for none; raises Rejected for an unknown one."""
    given = parameters.get("content_type", "")
    if given and given not in KNOWN:
        raise Rejected(f"{path}.content_type", f"expected one of {', '.join(KNOWN)}, got {shown(given)}")
    return str(given)


def decoded(tensor: Tensor, content_type: str, path: str) -> Tensor:
    """The tensor that the model gets; raises Rejected that names the element that is not what it says."""
    if content_type in ("", "np", "pd"):
        return tensor
    if tensor.datatype != BYTES:
        raise Rejected(path, f"content_type {content_type} is for BYTES, this is {tensor.datatype}")
    elements = decode_bytes(memoryview(tensor.data), tensor.elements, path)
    read = {"str": _text, "base64": _base64, "datetime": _datetime}[content_type]
    return tensor._replace(
        data=encode_bytes(read(element, f"{path}[{index}]") for index, element in enumerate(elements))
    )


def from_columns(columns: Sequence[Tensor], signature: Signature) -> tuple[Tensor, ...]:
    """The tensors of a signature from a table's columns, each of shape [n] or [n,1]; raises Rejected."""
    cells = [_cells(column, f"inputs[{index}]") for index, column in enumerate(columns)]
    if not cells or not cells[0]:
        raise Rejected("inputs", "the table has no rows")
    for index, column in enumerate(cells):
        if len(column) != len(cells[0]):
            message = f"columns must be equally long: the first has {len(cells[0])} rows, this {len(column)}"
            raise Rejected(f"inputs[{index}].shape", message)
    names = tuple(column.name for column in columns)
    if len(set(names)) != len(names):
        raise Rejected("inputs", "a column is given twice")
    rows = [list(row) for row in zip(*cells, strict=True)]
    return tensors_for(
        names, rows, signature, path="inputs", place=lambda row, at: f"inputs[{at}].data[{row}]"
    )


def _cells(column: Tensor, path: str) -> list[Any]:
    if not column.shape or any(size != 1 for size in column.shape[1:]):
        raise Rejected(f"{path}.shape", f"expected a column [n] or [n,1], got {list(column.shape)}")
    cells: list[Any] = to_array(column).reshape(-1).tolist()
    if column.datatype == BYTES:
        return [_text(cell, f"{path}.data[{index}]").decode() for index, cell in enumerate(cells)]
    return cells


def _text(element: bytes, path: str) -> bytes:
    try:
        element.decode()
    except UnicodeDecodeError:
        raise Rejected(path, "is not UTF-8 text") from None
    return element


def _base64(element: bytes, path: str) -> bytes:
    try:
        return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(path, "is not base64") from None


def _datetime(element: bytes, path: str) -> bytes:
    try:
        datetime.fromisoformat(_text(element, path).decode())
    except ValueError:
        message = f"expected an ISO 8601 date, got {shown(element.decode('utf-8', 'replace'))}"
        raise Rejected(path, message) from None
    return element
