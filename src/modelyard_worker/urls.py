"""What a model's code fetches because a request names its address: only from hosts that are allowed to it.

    from modelyard_worker import urls

    def predict(inputs):
        pictures = [urls.fetch(url) for url in inputs["imgUrl"]]
        ...

The deployment's environment variable `FETCH_HOSTS` says from where: `images.example.com, *.cdn.example.com,
10.0.0.5:9000`, separated by commas. A request can make a service open connections that its sender could not
open (OWASP: server-side request forgery), so nothing is allowed that is not named; what addresses a name may
have, `modelyard_worker.reaching` says.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Union
from urllib.parse import quote, urljoin, urlsplit

from modelyard_worker import context, reaching

MOST_BYTES = 10 * 2**20
MOST_SECONDS = 10.0
_MOST_REDIRECTS = 3
_MOST_BESIDE = 2**18
"""Bytes that may come beside the content itself: headers, sizes of chunks, trailers."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 65536
_KEPT = "%/?:@!$&'()*+,;=~"
"""Characters that paths and queries have as they are (RFC 3986, section 3.3 and 3.4)."""
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "modelyard"}


class _Place(NamedTuple):
    """Where a URL leads."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they are sent."""


def fetch(url: Union[str, bytes], *, most_bytes: int = MOST_BYTES, seconds: float = MOST_SECONDS) -> bytes:
    """What is at an address (`http` or `https`; an element of a BYTES tensor will do), at most `most_bytes`.

    It takes `seconds` at most, and no longer than the request has. Raises ValueError, which the client gets
    as a mistake of its own (400), with what is wrong and what would be allowed.
    """
    url = url.decode("utf-8", "replace") if isinstance(url, bytes) else url
    deadline = time.monotonic() + min(seconds, context.current().remaining)
    for _ in range(_MOST_REDIRECTS + 1):
        place = _place(url)
        usual = _PORTS[place.scheme]
        addresses = reaching.addresses(
            place.host, place.port, usual=usual, seconds=deadline - time.monotonic()
        )
        try:
            answer = _asked(place, addresses, deadline, most_bytes)
        except (OSError, http.client.HTTPException) as error:
            raise ValueError(f"{place.host} could not be asked: {error or type(error).__name__}") from error
        if isinstance(answer, bytes):
            return answer
        url = urljoin(url, answer)
        if place.scheme == "https" and not url.startswith("https:"):
            raise ValueError(f"{place.host} redirects to an address without TLS")
    raise ValueError(f"{url}: more than {_MOST_REDIRECTS} redirects")


def _place(url: str) -> _Place:
    if not isinstance(url, str) or not url or not url.isprintable() or " " in url:
        raise ValueError("expected an address such as https://images.example.com/1.jpg")
    try:
        parts = urlsplit(url)
        port, host = parts.port, reaching.plain(parts.hostname or "")
    except ValueError as error:
        raise ValueError(f"{url[:200]} is no address: {error}") from error
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        raise ValueError(f"{url[:200]}: expected http:// or https://, a host, and no user or password")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, host, port or _PORTS[parts.scheme], quote(target, safe=_KEPT))


class _Wire(io.RawIOBase):
    """A connected socket that is read until a deadline, and no more than so many bytes altogether."""

    def __init__(self, connected: socket.socket, deadline: float, most_bytes: int) -> None:
        self._socket, self._deadline, self._left = connected, deadline, most_bytes

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some of what has come."""
        self._socket.settimeout(_left(self._deadline))
        count = self._socket.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise http.client.HTTPException("it says too much")
        return count

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What http.client reads from."""
        return io.BufferedReader(self)

    def sendall(self, content: bytes) -> None:
        """Send all of it."""
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(content)

    def close(self) -> None:
        """Left to whoever connected: http.client closes what it goes on reading."""


def _asked(place: _Place, addresses: Sequence[str], deadline: float, most_bytes: int) -> Union[bytes, str]:
    """The content, or where it has gone."""
    with _connected(place, addresses, deadline) as connected:
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.default_port = _PORTS[place.scheme]
        wire: Any = _Wire(connected, deadline, most_bytes + _MOST_BESIDE)
        connection.sock = wire
        connection.request("GET", place.target, headers=_HEADERS)
        answer = connection.getresponse()
        moved = answer.getheader("Location")
        if answer.status in _REDIRECTS and moved:
            return moved.encode("latin-1").decode("utf-8", "replace")
        if answer.status != 200:
            raise ValueError(f"{place.host} answered {answer.status} {answer.reason[:100]}")
        return _read(place.host, answer, most_bytes)


def _connected(place: _Place, addresses: Sequence[str], deadline: float) -> socket.socket:
    """A connection to the first of these that takes it; what the host's name means by now does not matter."""
    failed: Optional[OSError] = None
    for address in addresses:
        try:
            plain = socket.create_connection((address, place.port), _left(deadline))
        except OSError as error:
            failed = error
            continue
        if place.scheme == "http":
            return plain
        plain.settimeout(_left(deadline))
        return ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
    raise failed or OSError("it has no address")


def _read(host: str, answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    pieces: List[bytes] = []
    size, length = 0, answer.length
    while length is None or size < length:
        piece = answer.read1(_PIECE if length is None else min(_PIECE, length - size))
        if not piece:
            break
        size += len(piece)
        if size > most_bytes:
            raise ValueError(f"{host}: more than {most_bytes} bytes")
        pieces.append(piece)
    if length is not None and size < length:
        raise ValueError(f"{host} ended before its answer did")
    return b"".join(pieces)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left
