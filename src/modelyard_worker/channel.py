"""The worker's end of the socket to the serving front: frames, and tensors in shared memory.

A frame is two little-endian 32-bit lengths, a JSON header and a body. Tensors lie in the body, or, when there
are many bytes, in a slot: a pair of memory files that the front made, one for requests and one for answers.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from modelyard_worker.arrays import DTYPES, datatype

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array

PREFIX = struct.Struct("<II")
LENGTH = struct.Struct("<I")
BEGUN = struct.Struct("<Q")
INLINE_BYTES = 65536
"""Tensors that need more than this travel in a slot."""
ALIGNMENT = 64

Buffer = Union[bytes, bytearray, memoryview]


class Frame(NamedTuple):
    """One message from the front."""

    header: Dict[str, Any]
    body: bytearray


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
        self._slots: List[Tuple[Region, Region]] = []
        self._ledger = memoryview(bytearray(8))

    def use_slots(self, pairs: Sequence[Sequence[int]], ledger: int) -> None:
        """Know the memory files: descriptors of each slot's request and answer, and of the ledger."""
        self._slots = [(Region(pair[0]), Region(pair[1])) for pair in pairs]
        self._ledger = Region(ledger).view(8, grow=False)

    def note_begun(self, identity: int) -> None:
        """Write down, where it outlives this process, that this request is begun; later ones are not."""
        BEGUN.pack_into(self._ledger, 0, identity)

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
        described, end = [], 0
        for name, kind, shape, data in blobs:
            end = -(-end // ALIGNMENT) * ALIGNMENT
            described.append(
                {"name": name, "datatype": kind, "shape": shape, "offset": end, "nbytes": data.nbytes}
            )
            end += data.nbytes
        in_slot = slot is not None and end > INLINE_BYTES
        header = dict(header, tensors=described, shm=slot if in_slot else None)
        if slot is not None and in_slot:
            _fill(self._slots[slot][1].view(end, grow=True), described, blobs)
            return frame_bytes(header)
        body = bytearray(end)
        _fill(memoryview(body), described, blobs)
        return frame_bytes(header, body)

    def _next(self) -> Optional[Frame]:
        if not self.has_frame:
            return None
        header_size, body_size = PREFIX.unpack_from(self._pending)
        middle = PREFIX.size + header_size
        end = middle + body_size
        frame = Frame(json.loads(self._pending[PREFIX.size : middle]), self._pending[middle:end])
        del self._pending[:end]
        return frame


def frame_bytes(header: Dict[str, Any], body: Buffer = b"") -> bytes:
    """A frame as it travels."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((PREFIX.pack(len(text), len(body)), text, body))


def raw(array: Array) -> Tuple[str, List[int], memoryview]:
    """Datatype, shape and bytes of an array."""
    name, shape = datatype(array), list(array.shape)
    if name == "BYTES":
        return name, shape, memoryview(encode_bytes(array.ravel().tolist()))
    flat: Any = np.ascontiguousarray(array, DTYPES[name]).reshape(-1).view(np.uint8)
    return name, shape, memoryview(flat)


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


def _fill(memory: memoryview, described: Sequence[Dict[str, Any]], blobs: Sequence[Any]) -> None:
    for index, tensor in enumerate(described):
        memory[tensor["offset"] : tensor["offset"] + tensor["nbytes"]] = blobs[index][3]
