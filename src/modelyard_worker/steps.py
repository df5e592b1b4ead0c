"""Runs a custom model's steps: preprocess, predict and postprocess, sync or async, whole or in parts."""

from __future__ import annotations

import importlib
import inspect
import time
from typing import Any, AsyncIterator, Callable, Iterator, Optional

from modelyard_worker import context

WATCH_SECONDS = 0.05
"""Async code is cancelled so soon after nobody waits for it any more."""

Step = Callable[[Any], Any]


class Steps:
    """What happens to a request's inputs, one step after the other; only `predict` must be there."""

    def __init__(
        self, prepare: Optional[Step], predict: Step, finish: Optional[Step], loop: Optional[Loop] = None
    ) -> None:
        self._prepare = prepare
        self._predict = predict
        self._finish = finish
        self._loop = loop or Loop()

    @property
    def predict(self) -> Step:
        """The step that the model is about."""
        return self._predict

    @property
    def streams(self) -> bool:
        """Whether `predict` yields its answer in parts."""
        function = self._function
        return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    @property
    def is_async(self) -> bool:
        """Whether `predict` lets others work while it waits."""
        function = self._function
        return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    @property
    def loop(self) -> Any:
        """The event loop that async steps run on."""
        return self._loop.made()

    async def whole_aside(self, inputs: Any) -> Any:
        """As `whole`, on the loop and beside other requests."""
        return await self._finished_aside(await self._predict(await self._prepared_aside(inputs)))

    async def parts_aside(self, inputs: Any) -> AsyncIterator[Any]:
        """As `parts`, on the loop and beside other requests."""
        parts = self._predict(await self._prepared_aside(inputs))
        try:
            async for part in parts:
                yield await self._finished_aside(part)
        finally:
            await parts.aclose()

    @property
    def _function(self) -> Any:
        function: Any = self._predict
        return getattr(function, "func", function)

    def whole(self, inputs: Any) -> Any:
        """The answer of a model that returns it at once."""
        return self._finished(self._loop.settled(self._predict(self._prepared(inputs))))

    def parts(self, inputs: Any) -> Iterator[Any]:
        """The answer of a model that yields it, each part after its postprocessing."""
        for part in self._loop.each(self._predict(self._prepared(inputs))):
            yield self._finished(part)

    def _prepared(self, inputs: Any) -> Any:
        if self._prepare is None:
            return inputs
        started = time.perf_counter()
        prepared = self._loop.settled(self._prepare(inputs))
        context.current().preprocess_seconds = time.perf_counter() - started
        return prepared

    async def _prepared_aside(self, inputs: Any) -> Any:
        if self._prepare is None:
            return inputs
        started = time.perf_counter()
        prepared = await _settled(self._prepare(inputs))
        context.current().preprocess_seconds = time.perf_counter() - started
        return prepared

    async def _finished_aside(self, value: Any) -> Any:
        return value if self._finish is None else await _settled(self._finish(value))

    def _finished(self, value: Any) -> Any:
        return value if self._finish is None else self._loop.settled(self._finish(value))


class Loop:
    """One event loop for a model's async functions, made when the first of them is called."""

    def __init__(self) -> None:
        self._loop: Any = None

    def settled(self, value: Any) -> Any:
        """The value itself, or the result of awaiting it; what is awaited is cancelled with its request."""
        return self._run(_watched(value)) if inspect.isawaitable(value) else value

    def each(self, values: Any) -> Iterator[Any]:
        """The items of a generator, sync or async; it is closed when the caller stops early."""
        if not hasattr(values, "__anext__"):
            yield from values
            return
        try:
            while True:
                try:
                    item = self._run(_watched(values.__anext__()))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._run(values.aclose())

    def made(self) -> Any:
        """The event loop itself."""
        if self._loop is None:
            self._loop = importlib.import_module("asyncio").new_event_loop()
        return self._loop

    def _run(self, awaitable: Any) -> Any:
        return self.made().run_until_complete(awaitable)


async def _watched(awaitable: Any) -> Any:
    asyncio = importlib.import_module("asyncio")
    task = asyncio.ensure_future(_awaited(awaitable))
    while True:
        done, _ = await asyncio.wait({task}, timeout=WATCH_SECONDS)
        if done:
            return task.result()
        if context.current().cancelled:
            task.cancel()


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
