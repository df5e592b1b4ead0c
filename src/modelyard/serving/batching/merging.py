"""Joins the tensors of several requests to those of one call, and cuts the answer up again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import orjson

from modelyard.oip.datatypes import BYTES, ITEM_BYTES
from modelyard.oip.errors import Rejected
from modelyard.oip.signature import Signature
from modelyard.oip.tensor import Raw, Tensor, from_array, to_array

PAD = "pad"
"""Request parameter: rows of different lengths may be filled up with this number to share a call."""
OURS = frozenset(
    {"binary_data_output", "cache", "content_type", "headers", "id", PAD, "priority", "timeout"},
)
"""Request parameters that concern the server and never the model."""
VIEWED_BYTES = 65536
"""Larger answers are not copied to be cut up."""
_NUMBERS = (int, float)


def obstacle_in(signature: Signature) -> str:
    """Why requests of a model with this signature can never share a call; empty when they can."""
    for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if not specs:
            return f"the signature names no {kind}"
        fixed = [spec.name for spec in specs if not spec.shape or spec.shape[0] != -1]
        if fixed:
            return f'the first dimension of "{fixed[0]}" is not variable'
    return ""


def rows_of(inputs: Sequence[Tensor]) -> int:
    """How many rows all inputs have; 0 when they do not agree, or have none."""
    lengths = {tensor.shape[0] if tensor.shape else 0 for tensor in inputs}
    return lengths.pop() if len(lengths) == 1 else 0


def kind_of(inputs: Sequence[Tensor], parameters: Mapping[str, Any]) -> Hashable:
    """What requests must have in common to share a call: names, datatypes, trailing shapes, parameters."""
    pad = parameters.get(PAD)
    tensors = tuple(
        (tensor.name, tensor.datatype, tensor.shape[1:] if pad is None else len(tensor.shape))
        for tensor in inputs
    )
    return tensors, pad, canonical(parameters)


def canonical(parameters: Mapping[str, Any]) -> bytes:
    """Parameters that concern the model, as bytes that are equal when they are."""
    own = {name: value for name, value in parameters.items() if name not in OURS}
    return orjson.dumps(own, option=orjson.OPT_SORT_KEYS, default=repr) if own else b""


def check_pad(parameters: Mapping[str, Any]) -> None:
    """Raise Rejected unless `pad` is a number."""
    pad = parameters.get(PAD)
    if pad is not None and (isinstance(pad, bool) or not isinstance(pad, _NUMBERS)):
        raise Rejected(f"parameters.{PAD}", f"expected a number to fill shorter rows with, got {pad!r}")


class Pieces(NamedTuple):
    """A tensor of one call whose rows still lie where each request's came, one piece below the other."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parts: tuple[Raw, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))

    def joined(self) -> Tensor:
        """The tensor in one piece, which costs a copy."""
        return Tensor(self.name, self.datatype, self.shape, b"".join(self.parts))


def gather(requests: Sequence[Sequence[Tensor]], pad: float | None = None) -> tuple[Pieces, ...]:
    """One call's tensors: the requests' rows one below the other, shorter ones filled up with `pad`.

    All requests have the same kind. Nothing is copied but what must be filled up.
    """
    return tuple(_gathered(tensors, pad) for tensors in zip(*requests, strict=True))


def merge(requests: Sequence[Sequence[Tensor]], pad: float | None = None) -> tuple[Tensor, ...]:
    """The same in one piece each."""
    return tuple(pieces.joined() for pieces in gather(requests, pad))


def split(outputs: Sequence[Tensor], rows: Sequence[int]) -> list[tuple[Tensor, ...]] | None:
    """Each request's rows of every output; None when an output has not as many rows as the call had."""
    total = sum(rows)
    if any(not tensor.shape or tensor.shape[0] != total for tensor in outputs):
        return None
    cut = [_cut(tensor, rows) for tensor in outputs]
    return [tuple(parts[index] for parts in cut) for index in range(len(rows))]


def _gathered(tensors: Sequence[Tensor], pad: float | None) -> Pieces:
    first = tensors[0]
    if pad is not None and any(tensor.shape[1:] != first.shape[1:] for tensor in tensors):
        tensors = [_filled(tensor, _longest(tensors), pad) for tensor in tensors]
    shape = (sum(tensor.shape[0] for tensor in tensors), *tensors[0].shape[1:])
    return Pieces(first.name, first.datatype, shape, tuple(tensor.data for tensor in tensors))


def _longest(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple(max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True))


def _filled(tensor: Tensor, trailing: tuple[int, ...], pad: float) -> Tensor:
    array = to_array(tensor)
    wider = [(0, 0), *((0, want - got) for want, got in zip(trailing, tensor.shape[1:], strict=True))]
    if tensor.datatype == BYTES:
        return from_array(tensor.name, np.pad(array, wider, constant_values=b""))
    value = np.asarray(pad).astype(array.dtype)
    return from_array(tensor.name, np.pad(array, wider, constant_values=value))


def _cut(tensor: Tensor, rows: Sequence[int]) -> list[Tensor]:
    trailing = tensor.shape[1:]
    per_row = 1
    for length in trailing:
        per_row *= length
    if tensor.datatype == BYTES:
        ends: Sequence[int] = _element_ends(tensor.data)
    else:
        size = ITEM_BYTES[tensor.datatype]
        ends = range(0, (sum(rows) * per_row + 1) * size, size)
    places = [ends[count * per_row] for count in accumulate(rows, initial=0)]
    data: Raw = tensor.data
    if len(data) > VIEWED_BYTES:
        # Views of what was answered cost nothing, whatever its size.
        data = memoryview(data)
    return [
        Tensor(tensor.name, tensor.datatype, (count, *trailing), data[start:end])
        for count, (start, end) in zip(rows, pairwise(places), strict=True)
    ]


def _element_ends(data: Raw) -> list[int]:
    """Where each BYTES element begins, and the end of the last one."""
    ends = [0]
    at = 0
    while at < len(data):
        at += 4 + int.from_bytes(data[at : at + 4], "little")
        ends.append(at)
    return ends
