"""An event loop whose time passes only while everything waits: an hour of waiting in a moment."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_000_000.0
"""What the clock says at first, in seconds since the epoch."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready; knows no threads and no sockets."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits for something that can never happen")
        # A step of at least a microsecond, so that rounding cannot keep a timer from being due.
        self._loop.now += max(timeout, 1e-6) if timeout > 0 else 0.0
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def clock() -> float:
    """Virtual time, as a platform's clock."""
    return asyncio.get_running_loop().time()


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an asynchronous test run on virtual time."""

    @functools.wraps(test)
    def told(*arguments: Any, **named: Any) -> None:
        run(test(*arguments, **named))

    return told
