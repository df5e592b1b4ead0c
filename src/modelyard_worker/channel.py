"""The worker's end of the socket to the serving front: frames, and tensors in shared memory.

A frame is two little-endian 32-bit lengths, a header and a body. A header is a JSON object, or, where tensors
are described, compact: a mark, what is another each time in fixed places, and the JSON of the rest, which is
so often the same that both sides remember what it says. Tensors lie in the body, or, when there are many
bytes, in a slot: a pair of memory files that the front made, one for requests and one for answers.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from modelyard_worker.arrays import DTYPES, datatype

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array

PREFIX = struct.Struct("<II")
LENGTH = struct.Struct("<I")
NUMBER = struct.Struct("<Q")
INLINE_BYTES = 65536
"""Tensors that need more than this travel in a slot."""
ALIGNMENT = 64
COMPACT = struct.Struct("<BBHQddd")
"""The mark, flags, slot, number of the request; its deadline on the way here;
on the way back seconds in all and of preprocessing, and beside them of putting the answer into the slot."""
MARK = 1
"""Where JSON would begin with a brace."""
HAS_SLOT, IN_SLOT, HAS_TIME = 1, 2, 4
_APART = frozenset(("id", "op", "seconds", "preprocess"))
MOST_KNOWN = 64
MOST_KNOWN_BYTES = 4096
SMALL_BYTES = 4096
"""Arrays up to this size are copied at once, which is quicker than a view of them."""

Buffer = Union[bytes, bytearray, memoryview]
Blob = Tuple[str, str, Tuple[int, ...], memoryview]
"""Name, datatype, shape and bytes of an array."""


class Frame(NamedTuple):
    """One message from the front."""

    header: Dict[str, Any]
    body: bytearray


class Layout(NamedTuple):
    """Where the tensors of an answer lie, and the JSON that says so."""

    text: bytes
    places: List[Tuple[int, int]]


class Region:
    """One memory file, mapped as far as it was last needed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: Optional[mmap.mmap] = None
        self._size = 0

    def view(self, size: int, *, grow: bool) -> memoryview:
        """The first `size` bytes; with `grow` the file is made longer when it is too short."""
        if self._map is None or self._size < size:
            if grow and os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            # The old mapping goes when the last array that looks into it does.
            self._size = os.fstat(self._fd).st_size
            self._map = mmap.mmap(self._fd, self._size)
        return memoryview(self._map)[:size]


class Channel:
    """Reads frames from the front and writes answers to it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pending = bytearray()
        self._said: Dict[bytes, Dict[str, Any]] = {}
        """What compact headers said, by their JSON."""
        self._layouts: Dict[Any, Layout] = {}
        self._slots: List[Tuple[Region, Region]] = []
        self._ledger = memoryview(bytearray(NUMBER.size))

    def use_slots(self, pairs: Sequence[Sequence[int]], ledger: int) -> None:
        """Know the memory files: descriptors of each slot's request and answer, and of the ledger."""
        self._slots = [(Region(pair[0]), Region(pair[1])) for pair in pairs]
        self._ledger = Region(ledger).view(NUMBER.size * (1 + len(self._slots)), grow=False)

    def note_begun(self, identity: int) -> None:
        """Write down, where it outlives this process, that this request is begun; later ones are not."""
        NUMBER.pack_into(self._ledger, 0, identity)

    def is_abandoned(self, identity: int, slot: Optional[int]) -> bool:
        """Whether the front has said, since it sent this request, that nobody waits for it any more."""
        place = NUMBER.size * (1 + (slot or 0))
        if slot is None or place + NUMBER.size > len(self._ledger):
            return False
        return bool(NUMBER.unpack_from(self._ledger, place)[0] == identity)

    def receive(self) -> Optional[Frame]:
        """The next frame, waiting for it; None when the front is gone."""
        while True:
            frame = self._next()
            if frame is not None:
                return frame
            chunk = self._socket.recv(262144)
            if not chunk:
                return None
            self._pending += chunk

    def arrived(self) -> Optional[List[Frame]]:
        """The frames that are complete after one more look at the socket; None when the front is gone."""
        chunk = self._socket.recv(262144)
        if not chunk:
            return None
        self._pending += chunk
        frames: List[Frame] = []
        while True:
            frame = self._next()
            if frame is None:
                return frames
            frames.append(frame)

    @property
    def has_frame(self) -> bool:
        """Whether the next frame is here already."""
        if len(self._pending) < PREFIX.size:
            return False
        header_size, body_size = PREFIX.unpack_from(self._pending)
        return len(self._pending) >= PREFIX.size + int(header_size) + int(body_size)

    def tensors(self, frame: Frame) -> Dict[str, Array]:
        """The arrays of a frame, by name. Large ones are views that are valid until the answer is sent."""
        described = frame.header["tensors"]
        slot = frame.header.get("shm")
        memory: Buffer = frame.body
        if slot is not None:
            end = max(tensor["offset"] + tensor["nbytes"] for tensor in described)
            memory = self._slots[slot][0].view(end, grow=False)
        return {tensor["name"]: _array(memory, tensor) for tensor in described}

    def send(self, *messages: Buffer) -> None:
        """Send what `frame` and `answer` made."""
        self._socket.sendall(b"".join(messages) if len(messages) > 1 else messages[0])

    def answer(self, header: Dict[str, Any], outputs: Dict[str, Array], slot: Optional[int]) -> bytes:
        """A frame with tensors; they go into the slot when they are large and there is one."""
        blobs = [(name, *raw(array)) for name, array in outputs.items()]
        layout = self._layout(header, blobs)
        end = layout.places[-1][1] if layout.places else 0
        if slot is not None and end > INLINE_BYTES:
            began = time.perf_counter()
            _fill(self._slots[slot][1].view(end, grow=True), layout, blobs)
            return _compact_frame(header, layout.text, (), slot, moved=time.perf_counter() - began)
        if len(blobs) == 1:
            return _compact_frame(header, layout.text, (blobs[0][3],), None)
        body = bytearray(end)
        _fill(memoryview(body), layout, blobs)
        return _compact_frame(header, layout.text, (body,), None)

    def _layout(self, header: Dict[str, Any], blobs: Sequence[Blob]) -> Layout:
        """Where the blobs lie, and the JSON that says so with what the header has beside its fixed places."""
        more = tuple((name, value) for name, value in header.items() if name not in _APART)
        key = (
            header["op"],
            more,
            tuple((name, kind, shape, data.nbytes) for name, kind, shape, data in blobs),
        )
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._laid_out(dict(more, op=header["op"]), blobs)
            _remember(self._layouts, key, layout, len(layout.text))
        return layout

    def _laid_out(self, header: Dict[str, Any], blobs: Sequence[Blob]) -> Layout:
        described, places, end = [], [], 0
        for name, kind, shape, data in blobs:
            end = -(-end // ALIGNMENT) * ALIGNMENT
            described.append(
                {"name": name, "datatype": kind, "shape": shape, "offset": end, "nbytes": data.nbytes}
            )
            places.append((end, end + data.nbytes))
            end += data.nbytes
        text = json.dumps(dict(header, tensors=described), separators=(",", ":")).encode()
        return Layout(text, places)

    def _next(self) -> Optional[Frame]:
        if not self.has_frame:
            return None
        header_size, body_size = PREFIX.unpack_from(self._pending)
        middle = PREFIX.size + header_size
        end = middle + body_size
        start = PREFIX.size
        if header_size >= COMPACT.size and self._pending[start] == MARK:
            header = self._compact(start, middle)
        else:
            header = json.loads(self._pending[start:middle])
        frame = Frame(header, self._pending[middle:end])
        del self._pending[:end]
        return frame

    def _compact(self, start: int, end: int) -> Dict[str, Any]:
        _, flags, slot, number, deadline, _, _ = COMPACT.unpack_from(self._pending, start)
        text = bytes(self._pending[start + COMPACT.size : end])
        said = self._said.get(text)
        if said is None:
            said = json.loads(text)
            _remember(self._said, text, said, len(text))
        header = dict(said)
        header["id"] = number
        header["slot"] = slot if flags & HAS_SLOT else None
        header["shm"] = slot if flags & IN_SLOT else None
        if flags & HAS_TIME:
            header["deadline"] = deadline
        return header


def _compact_frame(
    header: Dict[str, Any], text: bytes, body: Sequence[Buffer], slot: Optional[int], moved: float = 0.0
) -> bytes:
    flags = HAS_TIME if slot is None else HAS_TIME | HAS_SLOT | IN_SLOT
    seconds, prepared = header.get("seconds") or 0.0, header.get("preprocess") or 0.0
    fixed = COMPACT.pack(MARK, flags, slot or 0, header["id"], seconds, prepared, moved)
    prefix = PREFIX.pack(len(fixed) + len(text), sum(map(len, body)))
    return b"".join((prefix, fixed, text, *body))


def _remember(known: Dict[Any, Any], key: Any, value: Any, size: int) -> None:
    """Keep what was found out, within bounds: a guest may give each answer another shape."""
    if size <= MOST_KNOWN_BYTES:
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[key] = value


def frame_bytes(header: Dict[str, Any], body: Buffer = b"") -> bytes:
    """A frame as it travels."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((PREFIX.pack(len(text), len(body)), text, body))


def raw(array: Array) -> Tuple[str, Tuple[int, ...], memoryview]:
    """Datatype, shape and bytes of an array."""
    name = datatype(array)
    if name == "BYTES":
        return name, array.shape, memoryview(encode_bytes(array.ravel().tolist()))
    if array.nbytes <= SMALL_BYTES and array.dtype == DTYPES[name]:
        return name, array.shape, memoryview(array.tobytes())
    flat: Any = np.ascontiguousarray(array, DTYPES[name]).reshape(-1).view(np.uint8)
    return name, array.shape, memoryview(flat)


def encode_bytes(elements: Sequence[bytes]) -> bytes:
    """BYTES elements as they travel: each its 32-bit length and then its bytes."""
    parts: List[bytes] = []
    for element in elements:
        parts.append(LENGTH.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def decode_bytes(memory: Buffer, count: int) -> Array:
    """The `count` elements of an encoded BYTES tensor, as an object array."""
    elements: Array = np.empty(count, object)
    at = 0
    for index in range(count):
        (size,) = LENGTH.unpack_from(memory, at)
        elements[index] = bytes(memory[at + 4 : at + 4 + size])
        at += 4 + size
    return elements


def _array(memory: Buffer, tensor: Dict[str, Any]) -> Array:
    start, size, shape = tensor["offset"], tensor["nbytes"], tensor["shape"]
    if tensor["datatype"] == "BYTES":
        count = 1
        for length in shape:
            count *= length
        return decode_bytes(memoryview(memory)[start : start + size], count).reshape(shape)
    dtype = DTYPES[tensor["datatype"]]
    return np.frombuffer(memory, dtype, size // dtype.itemsize, start).reshape(shape)


def _fill(memory: memoryview, layout: Layout, blobs: Sequence[Blob]) -> None:
    for (start, end), blob in zip(layout.places, blobs):
        memory[start:end] = blob[3]
