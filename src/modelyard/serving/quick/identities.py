"""Identities of requests: the client's own where it is sound, else one of ours."""

from __future__ import annotations

import secrets

MOST_BYTES = 128


class Identities:
    """Gives requests their identities."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6).encode()
        self._given = 0

    def of(self, given: bytes | None) -> str:
        """The identity of a request that came with this X-Request-Id, or without one."""
        return sound(given) or self.next().decode()

    def next(self) -> bytes:
        """The identity of a request that came without one."""
        self._given += 1
        return b"%b-%x" % (self._prefix, self._given)


def sound(given: bytes | None) -> str:
    """A client's own identity for its request, if it can be one; else nothing."""
    if given is not None and 0 < len(given) <= MOST_BYTES and given.isascii():
        text = given.decode()
        if text.isprintable():
            return text
    return ""
