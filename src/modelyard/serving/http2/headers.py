"""Header blocks: requests read with HPACK, answers written without its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hpack import Decoder, HPACKError
from hpack.exceptions import OversizedHeaderListError
from hpack.table import HeaderTable

from modelyard.serving.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken

MOST_HEAD_BYTES = 65536
"""Of a request's headers, as they are counted once decoded; and of their encoded form."""
_MOST_REMEMBERED = 256
_MOST_REMEMBERED_BYTES = 1024
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_SHORT = tuple(bytes((size,)) for size in range(127))
_STATIC_STATUS = {200: b"\x88", 204: b"\x89", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}


class Malformed(Exception):
    """The headers are no request: the stream ends, the connection goes on."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one request, shared by all requests that have the same one."""

    method: str
    path: bytes
    headers: Mapping[bytes, bytes]
    """Names in lower case, `host` for the authority; of a repeated header the last one."""


class _Table(HeaderTable):
    """A dynamic table that knows whether it has changed."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeaderReader:
    """Reads the header blocks of one connection.

    A client that asks the same again sends the same bytes, once its headers are in the table. What a block
    means depends on the block and the table alone, so an answer holds until the table changes.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MOST_HEAD_BYTES)
        self._table = self._decoder.header_table = _Table()
        self._known: dict[bytes, Head] = {}

    def known(self, block: bytes) -> Head | None:
        """The request that a block is the head of, if it was read before and means the same still."""
        return self._known.get(block)

    def request(self, block: bytes) -> Head:
        """The request that a block is the head of; raises Broken, and Malformed when the table is intact."""
        known = self._known.get(block)
        if known is not None:
            return known
        before = (self._table.changes, self._table.maxsize)
        fields = self._fields(block)
        if (self._table.changes, self._table.maxsize) != before:
            self._known.clear()
            return _head(fields)
        head = _head(fields)
        if len(block) <= _MOST_REMEMBERED_BYTES:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[block] = head
        return head

    def trailers(self, block: bytes) -> None:
        """Read a block that only the table must know of; raises Broken."""
        self._known.clear()
        self._fields(block)

    def _fields(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            text = f"the headers are larger than {MOST_HEAD_BYTES} bytes"
            raise Broken(ENHANCE_YOUR_CALM, text) from None
        except (HPACKError, IndexError, ValueError, OverflowError) as error:
            raise Broken(COMPRESSION_ERROR, f"a header block cannot be read: {error}") from None


def _head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo:
                raise Malformed("pseudo-headers come first, and once each")
            pseudo[name] = value
        else:
            _check(name, value)
            headers[name] = value
    method, path = pseudo.pop(b":method", b""), pseudo.pop(b":path", b"")
    scheme = pseudo.pop(b":scheme", b"")
    authority = pseudo.pop(b":authority", None)
    if pseudo or not method.isalpha() or not scheme or not path.startswith((b"/", b"*")):
        raise Malformed("the request's pseudo-headers are not :method, :scheme, :path and :authority")
    if authority is not None:
        headers[b"host"] = authority
    return Head(method.decode("ascii"), path, headers)


def _check(name: bytes, value: bytes) -> None:
    if not name or name != name.lower() or name in _FORBIDDEN or b" " in name or b":" in name:
        raise Malformed("a header's name is not one that HTTP/2 allows")
    if b"\r" in value or b"\n" in value or b"\x00" in value:
        raise Malformed("a header's value has a line break in it")
    if name == b"te" and value != b"trailers":
        raise Malformed("te may only be trailers")


def status_field(status: int) -> bytes:
    """`:status` as it is encoded."""
    return _STATIC_STATUS.get(status) or field(b":status", b"%d" % status)


def field(name: bytes, value: bytes) -> bytes:
    """A header as it is encoded: spelled out, and nothing put into the peer's table."""
    return b"\x00" + length_of(len(name)) + name + length_of(len(value)) + value


@lru_cache(maxsize=1024)
def known_field(name: bytes, value: bytes) -> bytes:
    """`field` for what is said again and again."""
    return field(name, value)


def fields_of(lines: bytes) -> bytes:
    """Header lines as HTTP/1.1 has them, each ended by CR LF, as they are encoded here."""
    return b"".join(map(_line, lines.split(b"\r\n")))


@lru_cache(maxsize=512)
def name_of(name: bytes) -> bytes:
    """The beginning of a header as it is encoded, up to its value's length."""
    name = name.lower()
    return b"\x00" + length_of(len(name)) + name


def _line(line: bytes) -> bytes:
    if not line:
        return b""
    name, _, value = line.partition(b": ")
    size = len(value)
    return b"%b%b%b" % (name_of(name), _SHORT[size] if size < 127 else length_of(size), value)


@lru_cache(maxsize=1024)
def length_of(size: int) -> bytes:
    """A text's length as it is encoded in front of it."""
    if size < 127:
        return bytes((size,))
    size -= 127
    encoded = [127]
    while size >= 128:
        encoded.append(size & 127 | 128)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
