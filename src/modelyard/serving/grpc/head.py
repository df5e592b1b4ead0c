"""The head of a call: its deadline, and how its messages are encoded."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from modelyard.oip.errors import Rejected
from modelyard.serving.catalog import ALIAS
from modelyard.serving.grpc.framing import window_of
from modelyard.serving.http2.headers import Head

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LEAST_SECONDS = 1e-6
_ABSENT: dict[bytes, bytes] = {}


class CallHead(NamedTuple):
    """What a call's headers say."""

    deadline: float | None
    """On the monotonic clock."""
    window: int
    """How zlib reads its compressed messages; 0 when none are."""
    identity: bytes | None
    """The request's id, if the client gave one."""
    alias: bytes | None = None
    """The service that the gateway was asked for, if that is another than this one."""

    def headers(self) -> dict[bytes, bytes]:
        """What an exchange must know of them, as HTTP has it."""
        if self.deadline is None and self.identity is None and self.alias is None:
            return _ABSENT
        headers = {} if self.alias is None else {ALIAS: self.alias}
        if self.deadline is not None:
            left = max(self.deadline - monotonic(), _LEAST_SECONDS)
            headers[b"x-request-timeout"] = b"%f" % left
        if self.identity is not None:
            headers[b"x-request-id"] = self.identity
        return headers


def read_head(head: Head) -> CallHead:
    """Read the headers of a call; raises Problem and Rejected."""
    headers = head.headers
    timeout = headers.get(b"grpc-timeout")
    encoding = headers.get(b"grpc-encoding")
    return CallHead(
        None if timeout is None else monotonic() + _seconds(timeout),
        0 if encoding is None else window_of(encoding),
        headers.get(b"x-request-id"),
        headers.get(ALIAS),
    )


def _seconds(timeout: bytes) -> float:
    digits, unit = timeout[:-1], _UNITS.get(timeout[-1:])
    if unit is None or not digits.isdigit() or len(digits) > 8:
        shown = timeout[:40].decode("latin-1")
        raise Rejected(
            "headers.grpc-timeout", f'expected at most 8 digits and a unit such as 250m, got "{shown}"'
        )
    return int(digits) * unit
