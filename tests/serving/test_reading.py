"""Reading requests off a connection: what is remembered of earlier ones changes nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.serving.http.reading import Reader

LIMIT = 200
_SOUND = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
REQUESTS = st.sampled_from(
    [
        _SOUND,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Request-Id: 7\r\n\r\nxyz",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n" + b"a" * 900,
        b"not HTTP at all\r\n\r\n",
    ]
)


def told(reader: Reader, pieces: list[bytes]) -> list[Any]:
    """Everything that a connection sees of a reader, piece by piece, until it refuses."""
    seen: list[Any] = []
    for piece in pieces:
        problem = reader.feed(piece)
        seen.append(
            [
                (e.method, e.target, e.headers, e.body, e.keep_alive, e.old, e.answered)
                for e in reader.complete
            ]
        )
        reader.complete.clear()
        seen.append((reader.in_head, reader.in_body, reader.expects_continue))
        if problem is not None:
            return [*seen, (problem.status, problem.message)]
    return seen


class Forgetful(Reader):
    """A reader that parses everything."""

    def _learn(self, data: bytes, exchange: Any) -> None:
        """Remember nothing."""


@settings(max_examples=500, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=8), st.lists(st.integers(1, 120), max_size=6))
@example([_SOUND] * 3, [])
@example([*[_SOUND] * 2, _SOUND.replace(b"3\r\n", b"3\r\nConnection: close\r\n"), _SOUND], [1, 50, 51, 1])
def test_a_reader_that_remembers_reads_what_a_forgetful_one_reads(
    requests: list[bytes], cuts: list[int]
) -> None:
    pieces = list(requests)
    for index, cut in enumerate(cuts):
        at = index % len(pieces)
        pieces[at : at + 1] = [part for part in (pieces[at][:cut], pieces[at][cut:]) if part]
    quick, slow = Reader(None, max_body_bytes=LIMIT), Forgetful(None, max_body_bytes=LIMIT)  # type: ignore[arg-type]
    assert told(quick, pieces) == told(slow, pieces)


def test_the_second_of_two_equal_requests_is_not_parsed(monkeypatch: Any) -> None:
    request = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    reader = Reader(None, max_body_bytes=LIMIT)  # type: ignore[arg-type]
    assert reader.feed(request) is None
    first = reader.complete.pop()
    monkeypatch.setattr(Reader, "_parse", None)
    assert reader.feed(request[:-3] + b"xyz") is None
    second = reader.complete.pop()
    assert (second.method, second.target, second.headers, second.body) == (
        "POST", b"/a", first.headers, b"xyz"
    )  # fmt: skip
    second.headers[b"host"] = b"changed"
    assert first.headers[b"host"] == b"h"
