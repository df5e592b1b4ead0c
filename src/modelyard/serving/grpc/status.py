"""How calls end: gRPC's codes, and the trailers that carry them."""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import quote

from modelyard.serving.errors import Problem
from modelyard.serving.http2.headers import field, status_field

GRPC = b"application/grpc"
_LONGEST_MESSAGE = 2048
"""Bytes of UTF-8; more would make a header that clients refuse."""


class Code(IntEnum):
    """The codes of gRPC that a call here can end with."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.UNIMPLEMENTED,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}

HEAD = status_field(200) + field(b"content-type", GRPC)
"""What every answer begins with."""
OK = field(b"grpc-status", b"0")
"""The trailers of a call that went well."""
ACCEPTED = field(b"grpc-accept-encoding", b"identity,deflate,gzip")
"""The encodings of messages that are understood."""


def code_of(problem: Problem) -> Code:
    """The code for a problem."""
    if problem.reason == "QueueFull":
        return Code.RESOURCE_EXHAUSTED
    return _CODES.get(problem.status, Code.INTERNAL)


def trailers(problem: Problem) -> bytes:
    """The trailers that tell of a problem, with what HTTP clients read in its body."""
    message = problem.message.encode()[:_LONGEST_MESSAGE].decode("utf-8", "ignore")
    block = field(b"grpc-status", b"%d" % code_of(problem)) + field(b"grpc-message", _quoted(message))
    for name, value in (("code", problem.code), ("reason", problem.reason), ("path", problem.path)):
        if value:
            block += field(b"x-modelyard-" + name.encode(), _quoted(value[:_LONGEST_MESSAGE]))
    if problem.status == 415:
        block += ACCEPTED
    return block


def header_fields(problem: Problem) -> bytes:
    """A problem's own headers, such as the promise that nothing was begun."""
    fields = [
        field(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()
    ]
    return b"".join(fields)


def _quoted(text: str) -> bytes:
    """Text as trailers may carry it: printable ASCII as it is, the rest as percent signs and hex."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
