"""The front's side of the frames on a worker's socket; what the worker says is not trusted.

A frame is two little-endian 32-bit lengths, a header and a body. A header is a JSON object, or, where tensors
are described, compact: a mark, what is another each time in fixed places, and the JSON of the rest, which is
so often the same that both sides remember what it says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import inf, prod
from typing import Any, NamedTuple

import orjson

from modelyard.oip.datatypes import BYTES, ITEM_BYTES, decode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.tensor import Raw, Tensor
from modelyard.serving.errors import ServingError
from modelyard.serving.workers.slots import placed

PREFIX = struct.Struct("<II")
INLINE_BYTES = 65536
MOST_HEADER_BYTES = 1 << 20
MOST_BODY_BYTES = 1 << 30
COMPACT = struct.Struct("<BBHQddd")
"""The mark, flags, slot, number of the request; its deadline on the way out;
on the way back seconds in all and of preprocessing, and beside them of putting the answer into the slot."""
MARK = 1
"""Where JSON would begin with a brace."""
HAS_SLOT, IN_SLOT, HAS_TIME = 1, 2, 4
MOST_KNOWN = 64
MOST_KNOWN_BYTES = 4096


class NotAFrame(ServingError):
    """The worker sent what the protocol does not have."""


class Frame(NamedTuple):
    """One message from a worker."""

    header: Mapping[str, Any]
    body: memoryview | bytes


Described = tuple[str, str, tuple[int, ...], int]
"""A tensor's name, datatype, shape and bytes."""


class Given(NamedTuple):
    """Where the tensors of a request lie, and the JSON that says so."""

    places: list[int]
    end: int
    text: bytes


class Layouts:
    """The layouts of requests, remembered: most requests are like those before but for their numbers."""

    def __init__(self) -> None:
        self._known: dict[tuple[Described, ...], Given] = {}

    def of(self, tensors: Sequence[Tensor]) -> Given:
        """Where these tensors lie."""
        return self.laid(tuple((name, datatype, shape, len(data)) for name, datatype, shape, data in tensors))

    def laid(self, key: tuple[Described, ...]) -> Given:
        """Where tensors with these names, datatypes, shapes and sizes lie."""
        given = self._known.get(key)
        if given is None:
            places, end = placed([size for *_, size in key])
            given = Given(
                places, end, orjson.dumps([_described(*each) for each in zip(key, places, strict=True)])
            )
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = given
        return given


class Layout(list[Any]):
    """Described tensors that were looked at once: name, datatype, shape and place of each fit together."""

    __slots__ = ("end", "places")

    def __init__(self, described: Sequence[Any]) -> None:
        super().__init__(described)
        self.places = [_place(entry) for entry in described]
        self.end = max((place.end for place in self.places), default=0)


class _Place(NamedTuple):
    """Where a tensor lies, and what it is."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Splitter:
    """Cuts the stream from a worker into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._known: dict[bytes, dict[str, Any]] = {}
        """What compact headers said, by their JSON."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now; raises NotAFrame."""
        if self._pending:
            self._pending += data
            data = bytes(self._pending) if self._is_complete() else b""
            if not data:
                return []
            self._pending.clear()
        frames: list[Frame] = []
        at = 0
        while True:
            end = _end_of_frame(data, at)
            if end < 0 or end > len(data):
                break
            frames.append(self._frame(data, at))
            at = end
        if at < len(data):
            self._pending += memoryview(data)[at:]
        return frames

    def _is_complete(self) -> bool:
        end = _end_of_frame(self._pending, 0)
        return 0 <= end <= len(self._pending)

    def _frame(self, data: bytes, at: int) -> Frame:
        size, body = PREFIX.unpack_from(data, at)
        start = at + PREFIX.size
        middle = start + size
        compact = size >= COMPACT.size and data[start] == MARK
        header = self._compact(data, start, middle) if compact else _json(data[start:middle])
        return Frame(header, memoryview(data)[middle : middle + body] if body else b"")

    def _compact(self, data: bytes, start: int, end: int) -> Mapping[str, Any]:
        _, flags, slot, number, seconds, prepared, moved = COMPACT.unpack_from(data, start)
        if not (0.0 <= seconds < inf and 0.0 <= prepared < inf and 0.0 <= moved < inf):
            raise NotAFrame(f"{seconds} seconds, {prepared} of them before")
        text = data[start + COMPACT.size : end]
        said = self._known.get(text)
        if said is None:
            said = _json(text)
            try:
                said["tensors"] = Layout(said["tensors"])
            except (KeyError, TypeError, ValueError) as error:
                raise NotAFrame(f"tensors are not described rightly: {error}") from None
            if len(text) <= MOST_KNOWN_BYTES:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[text] = said
        shm = slot if flags & IN_SLOT else None
        fixed = {"id": number, "seconds": seconds, "preprocess": prepared, "moved": moved, "shm": shm}
        return {**said, **fixed}


def frame(header: Mapping[str, Any], body: Sequence[Raw] = ()) -> bytes:
    """A frame as it travels."""
    text = orjson.dumps(header)
    return b"".join((PREFIX.pack(len(text), sum(map(len, body))), text, *body))


class Fixed(NamedTuple):
    """What is another in each request."""

    number: int
    slot: int
    deadline: float
    """On the monotonic clock, which the worker's process shares."""
    in_slot: bool = False
    """Whether the tensors lie in the slot, not in the body."""


def request_frame(fixed: Fixed, header: Mapping[str, Any], given: Given, body: Sequence[Raw] = ()) -> bytes:
    """A request for the worker."""
    number, slot, deadline, in_slot = fixed
    flags = HAS_SLOT | HAS_TIME | IN_SLOT if in_slot else HAS_SLOT | HAS_TIME
    apart = COMPACT.pack(MARK, flags, slot, number, deadline, 0.0, 0.0)
    text = b'%b,"tensors":%b}' % (orjson.dumps(header)[:-1], given.text)
    prefix = PREFIX.pack(len(apart) + len(text), sum(map(len, body)))
    return b"".join((prefix, apart, text, *body))


def padded(places: Sequence[int], data: Sequence[Raw]) -> list[Raw]:
    """Blocks with the gaps between their places filled."""
    parts: list[Raw] = []
    end = 0
    for place, block in zip(places, data, strict=True):
        if place > end:
            parts.append(b"\0" * (place - end))
        parts.append(block)
        end = place + len(block)
    return parts


def read_tensors(described: Any, memory: Raw, *, lent: bool = False) -> tuple[Tensor, ...]:
    """The tensors that a worker described; raises NotAFrame when they do not lie there.

    They are copied out, but for large ones in memory that is `lent` for as long as somebody looks at it.
    """
    try:
        layout = described if isinstance(described, Layout) else Layout(described)
        if layout.end > len(memory):
            raise ValueError(f"{layout.end} is beyond {len(memory)} bytes")
        return tuple(_tensor(place, memory, lent) for place in layout.places)
    except (KeyError, TypeError, ValueError, Rejected) as error:
        raise NotAFrame(f"tensors are not described rightly: {error}") from None


def needed(described: Any) -> int:
    """How much memory described tensors need; raises NotAFrame."""
    try:
        return described.end if isinstance(described, Layout) else Layout(described).end
    except (KeyError, TypeError, ValueError) as error:
        raise NotAFrame(f"tensors are not described rightly: {error}") from None


def _place(entry: Any) -> _Place:
    offset, size, shape, datatype = entry["offset"], entry["nbytes"], tuple(entry["shape"]), entry["datatype"]
    if not all(type(number) is int and number >= 0 for number in (offset, size, *shape)):
        raise ValueError(f"{size} bytes of shape {shape} at {offset}")
    if datatype != BYTES and prod(shape) * ITEM_BYTES[datatype] != size:
        raise ValueError(f"{size} bytes are not {datatype} of shape {shape}")
    return _Place(str(entry["name"]), datatype, shape, offset, offset + size)


def _tensor(place: _Place, memory: Raw, lent: bool) -> Tensor:
    name, datatype, shape, start, end = place
    if lent and datatype not in (BYTES, "BOOL") and end - start > INLINE_BYTES:
        return Tensor(name, datatype, shape, memory[start:end])
    # The worker can still write there, so what is looked at more than once must be ours.
    data = bytes(memory[start:end])
    if datatype == BYTES:
        decode_bytes(data, prod(shape))
    return Tensor(name, datatype, shape, data)


def _described(tensor: Described, place: int) -> dict[str, Any]:
    name, datatype, shape, size = tensor
    return {"name": name, "datatype": datatype, "shape": shape, "offset": place, "nbytes": size}


def _end_of_frame(data: bytes | bytearray, at: int) -> int:
    """Where the frame at `at` ends, -1 when its lengths are not here yet."""
    if len(data) - at < PREFIX.size:
        return -1
    header, body = PREFIX.unpack_from(data, at)
    if header > MOST_HEADER_BYTES or body > MOST_BODY_BYTES:
        raise NotAFrame(f"a frame of {header} and {body} bytes")
    return int(at + PREFIX.size + header + body)


def _json(text: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotAFrame(f"a header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise NotAFrame("a header is not an object")
    return header
