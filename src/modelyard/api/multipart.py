"""Multipart requests as a stream of parts; no part is ever held in memory whole."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from modelyard.domain.errors import FieldError, Invalid

_MOST_HEADERS = 16 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its field name, its file name if it is a file, and its bytes as they come."""

    name: str
    filename: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Begin:
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class _End:
    pass


_Event = _Begin | bytes | _End


class _Reader:
    """Feeds the parser from the request and keeps what it found."""

    def __init__(self, request: Request, boundary: bytes) -> None:
        self._body = request.stream()
        self._events: deque[_Event] = deque()
        self._field = b""
        self._value = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._events.append(_Begin(tuple(self._headers))),
                "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                "on_part_end": lambda: self._events.append(_End()),
                "on_end": self._on_end,
            },
        )

    async def next(self) -> _Event | None:
        """The next event, or None at the proper end. Raises Invalid for a body that is cut or malformed."""
        while not self._events:
            chunk = await anext(self._body, b"")
            if not chunk:
                if self._complete:
                    return None
                raise invalid("body", "the upload ended in the middle; send it again")
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise invalid("body", f"not multipart/form-data: {error}") from None
        return self._events.popleft()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._bounded(data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._bounded(data[start:end])

    def _on_header_end(self) -> None:
        self._headers.append((self._field.lower(), self._value))
        self._field = self._value = b""

    def _on_end(self) -> None:
        self._complete = True

    def _bounded(self, data: bytes) -> bytes:
        self._header_bytes += len(data)
        if self._header_bytes > _MOST_HEADERS * 64:
            raise invalid("body", "the headers of the parts are too long")
        return data


async def parts(request: Request) -> AsyncIterator[Part]:
    """The parts in order. A part's chunks must be read before the next part is asked for.

    Raises Invalid when the request is not multipart, is malformed, or ends early.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise invalid("content-type", "send multipart/form-data with a `spec` field and `file` parts")
    try:
        reader = _Reader(request, boundary)
    except FormParserError as error:
        raise invalid("content-type", f"not multipart/form-data: {error}") from None
    while (event := await reader.next()) is not None:
        if isinstance(event, _Begin):
            name, filename = _names(event)
            yield Part(name, filename, _chunks(reader))


async def text(part: Part, *, limit: int) -> bytes:
    """The bytes of a small part. Raises Invalid above `limit` bytes."""
    collected = bytearray()
    async for chunk in part.chunks:
        collected += chunk
        if len(collected) > limit:
            raise invalid(part.name, f"longer than {limit} bytes")
    return bytes(collected)


def invalid(path: str, message: str) -> Invalid:
    """The error for a part or the body."""
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])


async def _chunks(reader: _Reader) -> AsyncIterator[bytes]:
    while isinstance(event := await reader.next(), bytes):
        yield event


def _names(begin: _Begin) -> tuple[str, str]:
    headers = dict(begin.headers)
    disposition, options = parse_options_header(headers.get(b"content-disposition", b""))
    if disposition != b"form-data" or b"name" not in options:
        raise invalid("body", "a part has no `Content-Disposition: form-data; name=…`")
    filename = options.get(b"filename", b"")
    try:
        return options[b"name"].decode(), filename.decode()
    except UnicodeDecodeError:
        raise invalid("body", "the name of a part or file is not UTF-8") from None
