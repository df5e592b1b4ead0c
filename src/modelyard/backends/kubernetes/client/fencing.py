"""Writes that are only made while somebody leads: asked just before each try, wherever it is made from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_allowed: ContextVar[Callable[[], None] | None] = ContextVar("modelyard_cluster_writes", default=None)


@contextlib.contextmanager
def fenced(check: Callable[[], None]) -> Iterator[None]:
    """Let `check` refuse every write that is made in here, also by tasks that are begun in here.

    Others in the same process are not held up: an API that shares its client with a reconciler goes on.
    """
    token = _allowed.set(check)
    try:
        yield
    finally:
        _allowed.reset(token)


def pass_or_raise() -> None:
    """Raise what the check raises, if there is one here."""
    check = _allowed.get()
    if check is not None:
        check()
