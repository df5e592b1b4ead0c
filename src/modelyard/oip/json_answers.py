"""Answers in JSON to many requests at once: only elements are written, what stands around them is remembered.

What comes out is to the byte what `render_response` writes for each request. Whatever that would refuse, or
write otherwise than as plain lists of numbers, is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from modelyard.oip.datatypes import DTYPES, STRUCT_CODES
from modelyard.oip.infer_response import Wishes, render_response
from modelyard.oip.model import Rendered
from modelyard.oip.regions import Regions
from modelyard.oip.tensor import Tensor

MOST = 64
"""Kinds of answers that are remembered for one kind of request."""
_EMPTY = b'"data":[]'

Described = tuple[str, str, tuple[int, ...]]
Texts = dict[str, Sequence[bytes]]


class Table:
    """The outputs of one call, cut into the rows of its requests as they stand in JSON."""

    __slots__ = ("described", "rows", "texts")

    def __init__(self, outputs: Sequence[Tensor], rows: Sequence[int]) -> None:
        """Raises ValueError for outputs that are not plain tables of numbers with those rows."""
        self.rows = rows
        self.described = tuple([(tensor.name, tensor.datatype, tensor.shape[1:]) for tensor in outputs])
        self.texts = {tensor.name: _texts(tensor, rows) for tensor in outputs}
        if len(self.texts) != len(outputs):
            raise ValueError("two outputs have one name")


class JsonAnswer:
    """Writes the answers to requests that want the same."""

    __slots__ = ("_around", "_name", "_regions", "_version", "_wishes", "plain")

    def __init__(self, name: str, version: str, wishes: Wishes, regions: Regions | None = None) -> None:
        self._name = name
        self._version = version
        self._wishes = wishes
        self._regions = regions
        self._around: dict[tuple[tuple[Described, ...], int], tuple[tuple[str, ...], list[bytes]]] = {}
        self.plain = not wishes.default_binary and not any(
            wish.binary or wish.classes or wish.part is not None for wish in wishes.outputs
        )
        """Whether all of it is JSON, and each output goes as it is."""

    def __call__(self, outputs: Sequence[Tensor]) -> Rendered:
        """One answer; raises Rejected when it has no form in what the client asked for."""
        return render_response(
            outputs, name=self._name, version=self._version, wishes=self._wishes, regions=self._regions
        )

    def bodies(self, table: Table, places: Iterable[int]) -> list[bytes]:
        """The answers to the requests at these places of a call; raises Rejected for an output not given."""
        rows, texts = table.rows, table.texts
        size = -1
        names: tuple[str, ...] = ()
        around: list[bytes] = []
        found: list[bytes] = []
        for place in places:
            if rows[place] != size:
                size = rows[place]
                names, around = self._surroundings(table.described, size)
            if len(names) == 1:
                found.append(b"".join((around[0], texts[names[0]][place], around[1])))
                continue
            pieces = [piece for name, before in zip(names, around, strict=False)
                      for piece in (before, texts[name][place])]  # fmt: skip
            found.append(b"".join((*pieces, around[-1])))
        return found

    def _surroundings(
        self, described: tuple[Described, ...], rows: int
    ) -> tuple[tuple[str, ...], list[bytes]]:
        """The outputs of an answer with so many rows in order, and what stands before, between and after."""
        known = self._around.get((described, rows))
        if known is None:
            bare = [Tensor(name, datatype, (rows, *rest), b"") for name, datatype, rest in described]
            text = bytes(self(bare).parts[0])
            names = tuple(wish.name for wish in self._wishes.outputs) or tuple(each[0] for each in described)
            around = text.split(_EMPTY)
            if len(around) != len(names) + 1:
                raise ValueError("a name looks like an empty list of elements")
            ends = [b"]" if index else b"" for index in range(len(around))]
            starts = [_EMPTY[:-1] if index < len(names) else b"" for index in range(len(around))]
            known = names, [b"%b%b%b" % three for three in zip(ends, around, starts, strict=True)]
            if len(self._around) >= MOST:
                self._around.clear()
            self._around[described, rows] = known
        return known


def _texts(tensor: Tensor, rows: Sequence[int]) -> Sequence[bytes]:
    """The elements of each request, without the brackets around them."""
    total = sum(rows)
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None or tensor.datatype not in STRUCT_CODES or not total or tensor.shape[:1] != (total,):
        raise ValueError(f"{tensor.datatype} of shape {tensor.shape} is not cut here")
    array: Any = np.frombuffer(tensor.data, dtype)
    if not len(array) or (dtype.kind == "f" and not np.isfinite(array).all()):
        raise ValueError("nothing, or nothing that JSON can carry")
    if len(rows) == 1:
        return (orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1],)
    text = orjson.dumps(array.reshape(total, -1), option=orjson.OPT_SERIALIZE_NUMPY)
    found = text[2:-2].split(b"],[")
    if total == len(rows):
        return found
    joined, at = [], 0
    for count in rows:
        joined.append(b",".join(found[at : at + count]))
        at += count
    return joined
