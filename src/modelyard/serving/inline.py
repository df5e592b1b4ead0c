"""Compiled variants that run inside the front: small batches at once, large ones in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelyard.serving.compiled import Compiled, NotInline, open_variant
from modelyard.serving.config import ModelConfig
from modelyard.serving.dispatcher import Dispatcher
from modelyard.serving.errors import Failure, Problem
from modelyard.serving.jobs import Prediction, Work
from modelyard.serving.logs import Log
from modelyard.serving.workers.supervisor import Listener, Supervisor

LOOP_SECONDS = 0.002
"""A batch that is expected to take longer does not hold up probes and other requests: it gets a thread."""
MOST_THREADED = 4
"""So many large batches are taken at a time; others wait in the queue, which is bounded."""
MOST_ROWS = 4096
"""Never more rows at once than this, however quick each is."""


class InlineRunner:
    """Predicts in this process."""

    def __init__(self, dispatcher: Dispatcher, compiled: Compiled, *, row_seconds: float) -> None:
        self._dispatcher = dispatcher
        self._compiled = compiled
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="variant")
        self._threaded = 0
        self.quick_rows = max(1, min(MOST_ROWS, int(LOOP_SECONDS / max(row_seconds, 1e-9))))
        """Batches of at most so many rows are answered at once."""

    @property
    def load(self) -> int:
        """Calls it has now."""
        return self._threaded

    @property
    def parallel(self) -> int:
        """Calls that it works on at a time."""
        return 1

    @property
    def has_room(self) -> bool:
        """Whether it takes another one."""
        return self._threaded < MOST_THREADED

    def begin(self, work: Work) -> None:
        """Answer a small call before this returns, a large one later."""
        shape = work.inputs[0].shape
        if (shape[0] if shape else 1) <= self.quick_rows:
            outcome = self._compiled.answer(work.inputs)
            self._learn(outcome)
            self._dispatcher.completed(work, outcome)
            return
        self._threaded += 1
        computing = self._loop.run_in_executor(self._threads, self._compiled.answer, work.inputs)
        computing.add_done_callback(lambda computed: self._computed(work, computed))

    def abandon(self, work: Work) -> None:
        """What is computed already is computed to its end."""

    def close(self) -> None:
        """Begin nothing more; what a thread computes ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _computed(self, work: Work, computed: asyncio.Future[Prediction | Problem]) -> None:
        self._threaded -= 1
        if computed.cancelled():
            gone = Problem(503, "unavailable", "the replica is leaving", reason="Draining")
            self._dispatcher.completed(work, gone)
        else:
            self._dispatcher.completed(work, computed.result())
        self._dispatcher.feed()

    def _learn(self, outcome: Prediction | Problem) -> None:
        """This machine may be slower than the one where the variant was measured."""
        if isinstance(outcome, Prediction) and outcome.infer_seconds > 2 * LOOP_SECONDS:
            self.quick_rows = max(1, self.quick_rows // 2)


class Hello:
    """What a worker would say once its model is loaded."""

    loaded: Mapping[str, Any] | None = {"device": "ONNX Runtime device: CPU"}


class InlineSupervisor(Supervisor):
    """Keeps a variant in this process, and a worker in its place when the variant does not load here."""

    def __init__(
        self, config: ModelConfig, settings: str, *, dispatcher: Dispatcher, listener: Listener, log: Log
    ) -> None:
        super().__init__(
            config.worker,
            settings,
            dispatcher=dispatcher,
            listener=listener,
            request_timeout_seconds=config.limits.request_timeout_seconds,
        )
        self._model = config
        self._log = log
        self._runner: InlineRunner | None = None
        self._killed = asyncio.Event()

    @property
    def is_inline(self) -> bool:
        """Whether the variant runs in this process now."""
        return self._runner is not None

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.is_inline or super().is_ready

    @property
    def has_served(self) -> bool:
        """Whether it has ever been loaded."""
        return self.is_inline or super().has_served

    def kill(self) -> None:
        """End it at once."""
        self._killed.set()
        super().kill()

    async def run(self) -> None:
        """Serve until killed; with a worker when the variant cannot be loaded here."""
        inline = self._model.inline
        assert inline is not None  # noqa: S101 - who has no variant has another supervisor
        loop = asyncio.get_running_loop()
        try:
            compiled = await loop.run_in_executor(None, open_variant, inline, self._model.signature)
        except NotInline as error:
            self._log.error("variant_not_inline", model=self._model.name, message=str(error))
            await super().run()
            return
        self._runner = InlineRunner(self._dispatcher, compiled, row_seconds=inline.row_seconds)
        self._dispatcher.attach(self._runner)
        self._listener.worker_ready(self, Hello())
        try:
            await self._killed.wait()
        finally:
            runner, self._runner = self._runner, None
            unloaded = Failure("Unloaded", "the variant was unloaded")
            self._dispatcher.detach(runner, (), (), unloaded)
            runner.close()
        self._listener.worker_lost(self, unloaded)
