"""A quick way through JSON requests that differ from an earlier one in nothing but their numbers.

Clients ask the same thing again and again: name, datatype, shape and everything around the elements stay,
byte for byte. What was checked once around a list of elements holds for every list in its place, so only the
list is read, by a parser that fills memory directly when it is long. Whatever does not match to the byte, and
every mistake, goes the long way, which words the errors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
import simdjson

from modelyard.oip.datatypes import BYTES, DTYPES, STRUCT_CODES
from modelyard.oip.elements import KINDS, pack_data
from modelyard.oip.errors import Rejected
from modelyard.oip.model import Query
from modelyard.oip.tensor import Tensor

MOST = 32
"""Templates that are kept; a client whose requests all differ around their elements gains nothing."""
MOST_AROUND_BYTES = 2048
LONG_BYTES = 256
"""Lists of elements longer than this are read by the SIMD parser; below, it takes longer to set off."""
MOST_KEPT_BYTES = 2 << 20
"""A parser keeps several times the memory of its longest document; for longer ones than this there is another
each time."""
_PARSER = simdjson.Parser()
"""Scratch memory for one document at a time, as requests are read one at a time."""
_KEY = b'"data"'
_PRIVATE = (b"\\", b'"id"', b"shared_memory", b"content_type")
"""What around the elements keeps a request from being learned: escapes, which may hide a key, what is another
in each request or must be looked at each time, and elements that are not the model's as they stand."""

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What stands behind the elements, and what the request means but for them."""

    tail: bytes
    given: Tensor
    """The one input, without its elements."""
    rest: tuple[Any, ...]
    """The other fields of the query."""
    flat: Callable[[Any], bytes] | None
    """Packs the elements where they are few and given in one list; raises `struct.error` for other ones."""

    def query(self, data: bytes) -> Query:
        """The request with these elements."""
        given = self.given
        tensor = Tensor(given.name, given.datatype, given.shape, data)
        return Query._make(((tensor,), *self.rest))


class Templates:
    """The requests seen lately, by what stands before their elements."""

    def __init__(self) -> None:
        self._known: dict[bytes, Template] = {}

    def read(self, body: bytes) -> Query | None:
        """The request, when it is like one that was learned; None sends it the long way."""
        found = self.match(body)
        return None if found is None else found[0].query(found[1])

    def match(self, body: bytes) -> tuple[Template, bytes] | None:
        """What the request is like, and its elements as they travel; None sends it the long way."""
        at = body.find(_KEY)
        start = body.find(b"[", at) if at > 0 else -1
        if start < 0:
            return None
        template = self._known.get(body[:start])
        if template is None or not body.endswith(template.tail):
            return None
        text = body[start : len(body) - len(template.tail)]
        data = self._few(text, template) if len(text) <= LONG_BYTES else self._elements(text, template.given)
        return None if data is None else (template, data)

    def learn(self, body: bytes, query: Query) -> None:
        """Remember a request that the long way has read, if only the elements of its one input may differ.

        The key must occur once, and no escape may hide another: then a list put in the place of this list
        makes a document that differs from this one in that list alone.
        """
        if len(query.inputs) != 1 or query.inputs[0].datatype == BYTES or body.count(_KEY) != 1:
            return
        start = body.find(b"[", body.find(_KEY))
        end = _end_of_list(body, start)
        around = body[:start] + body[end:]
        if end < 0 or len(around) > MOST_AROUND_BYTES or any(mark in around for mark in _PRIVATE):
            return
        if body[body.find(_KEY) + len(_KEY) : start].strip(b" \t\r\n") != b":":
            return
        if len(self._known) >= MOST:
            self._known.clear()
        empty = query.inputs[0]._replace(data=b"")
        self._known[body[:start]] = Template(body[end:], empty, query[1:], _packer(empty))

    def forget(self) -> None:
        """Drop everything: the model's signature is another now."""
        self._known.clear()

    def _few(self, text: bytes, template: Template) -> bytes | None:
        """As `_elements` for a short list, which mostly holds just what it must."""
        if template.flat is not None:
            try:
                return template.flat(orjson.loads(text))
            except (ValueError, TypeError, struct.error, OverflowError):
                pass  # nested, or to be judged
        return self._elements(text, template.given)

    def _elements(self, text: bytes, tensor: Tensor) -> bytes | None:
        """A tensor's bytes from its list as JSON; None for whatever the long way must judge."""
        if len(text) > LONG_BYTES and tensor.datatype in _LONG:
            found = self._long(text, tensor)
            if found is not None:
                return found
        try:
            return pack_data(orjson.loads(text), tensor.datatype, tensor.shape, "")
        except (orjson.JSONDecodeError, Rejected):
            return None

    @staticmethod
    def _long(text: bytes, tensor: Tensor) -> bytes | None:
        """Numbers straight into memory; None for what is unusual, such as integers beyond 64 bits."""
        brackets = text.count(b"[")
        if brackets > 1 and not (len(tensor.shape) == 2 and brackets == 1 + tensor.shape[0]):
            return None
        try:
            # The parser refuses the next document while anything still refers to this one.
            parser = _PARSER if len(text) <= MOST_KEPT_BYTES else simdjson.Parser()
            document = parser.parse(text)
            if brackets > 1 and not _has_shape(document, *tensor.shape):
                return None
            found = _LONG[tensor.datatype](document)
        except (ValueError, TypeError, RuntimeError):
            return None
        return found.tobytes() if found is not None and len(found) == prod(tensor.shape) else None


def _packer(tensor: Tensor) -> Callable[[Any], bytes] | None:
    """Packs as many elements as the tensor has, all of its kind."""
    count, allowed = prod(tensor.shape), KINDS.get(tensor.datatype)
    if allowed is None or not 0 < count <= LONG_BYTES:
        return None
    pack = struct.Struct(f"<{count}{STRUCT_CODES[tensor.datatype]}").pack

    def packed(values: Any) -> bytes:
        if not allowed.issuperset(map(type, values)):
            raise TypeError("not of the kind")
        return pack(*values)

    return packed


def _has_shape(document: Any, rows: int, columns: int) -> bool:
    """Whether a list holds so many lists of so many values; raises TypeError for values among the lists.

    There are no more brackets than these lists need, so none of them holds another.
    """
    return len(document) == rows and all(len(row) == columns for row in document)


def _doubles(document: Any) -> Numbers:
    return np.frombuffer(document.as_buffer(of_type="d"), "<f8")


def _singles(document: Any) -> Numbers | None:
    with np.errstate(over="ignore"):
        narrow = _doubles(document).astype("<f4")
    return narrow if bool(np.isfinite(narrow).all()) else None


def _integers(datatype: str) -> Callable[[Any], Numbers | None]:
    dtype = DTYPES[datatype]
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    def read(document: Any) -> Numbers | None:
        wide = np.frombuffer(document.as_buffer(of_type="i"), "<i8")
        if len(wide) and not (low <= int(wide.min()) and int(wide.max()) <= high):
            return None
        return wide.astype(dtype)

    return read


_LONG: dict[str, Callable[[Any], Numbers | None]] = {
    "FP64": _doubles,
    "FP32": _singles,
    **{name: _integers(name) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")},
}
"""How long lists are read; the other datatypes have no such reader."""


def _end_of_list(body: bytes, start: int) -> int:
    """Behind the bracket that closes the list of numbers at `start`; -1 when it holds anything else."""
    if start < 0:
        return -1
    depth = 0
    at = start
    while at >= 0:
        opened, closed = body.find(b"[", at), body.find(b"]", at)
        if closed < 0:
            return -1
        if 0 <= opened < closed:
            depth, at = depth + 1, opened + 1
            continue
        depth, at = depth - 1, closed + 1
        if depth == 0:
            return -1 if b'"' in body[start:at] else at
    return -1
