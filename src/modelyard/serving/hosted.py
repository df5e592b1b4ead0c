"""One model of a front: its queue, its workers, and whether it can answer now."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from modelyard.oip.errors import Rejected
from modelyard.oip.model import ServedModel
from modelyard.oip.signature import compile_signature
from modelyard.serving.batching.merging import obstacle_in
from modelyard.serving.batching.policy import ON, Policy
from modelyard.serving.caching import ResponseCache
from modelyard.serving.comparing import Comparisons
from modelyard.serving.config import Limits, ModelConfig
from modelyard.serving.dispatcher import Dispatcher, Rules
from modelyard.serving.errors import Failure
from modelyard.serving.inline import InlineSupervisor
from modelyard.serving.jobs import Work
from modelyard.serving.logs import Log
from modelyard.serving.memory import UNFIT, artifact_bytes, free_bytes, misfit
from modelyard.serving.metrics import Metrics
from modelyard.serving.statistics import Statistics
from modelyard.serving.workers.process import resident_bytes
from modelyard.serving.workers.supervisor import Announced, Supervisor

GRACE_SECONDS = 3.0
"""Requests wait so long for a worker that died to be back; longer, and they had better ask elsewhere."""
GRACE_PAUSE_SECONDS = 0.5
"""Workers that die again and again are not waited for: their next start is further away than this."""
QUEUE_BODIES = 8
"""Waiting requests may hold this many bodies of the largest size."""
SETTLE_SECONDS = 0.02


class Owner(Protocol):
    """Who wants to know how a model fares."""

    def changed(self, hosted: HostedModel) -> None:
        """Its phase, its workers or its failure are others now."""


class HostedModel:
    """One model that a front serves, in whatever phase.

    `phase` is unloaded, starting, ready, unready (it was ready, its workers are being replaced), unloading or
    failed (it could not be loaded).
    """

    def __init__(self, config: ModelConfig, owner: Owner, log: Log, *, settings_path: Path) -> None:
        self.config = config
        self.model = ServedModel(config.name, config.version, config.platform, config.signature, config.task)
        self.statistics = Statistics()
        self.created = int(time.time())
        """Since when it is known here, in seconds since 1970."""
        self.metrics = Metrics(
            {
                "project": config.project,
                "service": config.name,
                "stage": config.stage,
                "model": config.model,
                "version": config.version,
            }
        )
        self.comparisons = Comparisons() if config.comparisons else None
        self.dispatcher = Dispatcher(asyncio.get_running_loop(), _rules(config.limits), _policy(config))
        self.dispatcher.on_call = self._called
        self.dispatcher.on_mismatch = self._mismatched
        if config.limits.cache_bytes:
            self.dispatcher.cache = ResponseCache(config.limits.cache_bytes)
        self.headers = (
            f"X-Modelyard-Model-Version: {config.version}\r\nX-Modelyard-Revision: {config.revision}\r\n"
        ).encode("latin-1", "replace")
        self.phase = "unloaded"
        self.failure: Failure | None = None
        self.last_failure: Failure | None = None
        self.device = ""
        self.restarts = 0
        self.loaded_bytes = 0
        """Memory of a worker that had just loaded it, as measured; 0 before it ever was."""
        self.peak_bytes = 0
        """The most memory that one worker was seen to use."""
        self.threads: Mapping[str, Any] = {}
        """With how many threads a worker computes and why, where there was a choice."""
        self.explanation: Mapping[str, Any] = {}
        self.supervisors: tuple[Supervisor, ...] = ()
        self._owner = owner
        self._log = log
        self._settings_path = settings_path
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._news = asyncio.Event()
        self.dispatcher.obstacle = self._not_loaded()

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered now."""
        return self.phase == "ready"

    @property
    def is_wanted(self) -> bool:
        """Whether it is meant to answer: loaded, or on the way there."""
        return self.phase not in ("unloaded", "unloading")

    @property
    def obstacle(self) -> Failure | None:
        """Why requests cannot be answered, when they cannot."""
        return self.failure or self.dispatcher.obstacle

    @property
    def resident(self) -> int:
        """Bytes of memory of its workers when last looked at."""
        return sum(supervisor.resident for supervisor in self.supervisors)

    def _misfit(self, count: int) -> Failure | None:
        """Why so many workers do not fit into memory: as measured here or before, at least their files."""
        worker = self.config.worker
        measured, files = self.loaded_bytes or worker.known_bytes, artifact_bytes(worker.config)
        return misfit(
            self.config.name, count * max(measured, files), free_bytes(), measured=measured >= files
        )

    def unfit(self, supervisor: Supervisor) -> Failure | None:
        """Why a worker's successor cannot be started now: the machine may have less memory than it had."""
        return self._misfit(1) if supervisor.has_served else None

    def as_json(self) -> Mapping[str, Any]:
        """What it is and does, for the front's state."""
        self._note_peak()
        return {
            "name": self.config.name,
            "version": self.config.version,
            "phase": self.phase,
            "memory_bytes": self.loaded_bytes,
            "peak_bytes": self.peak_bytes,
            "threads": self.threads,
            "batch": self.explanation,
        }

    def _note_peak(self) -> None:
        peaks = [supervisor.peak for supervisor in self.supervisors]
        self.peak_bytes = max(self.peak_bytes, *peaks, 0)

    def explain(self) -> None:
        """Put into words how its requests share calls, as far as that is known now."""
        self.explanation = self.dispatcher.policy.as_json()

    def gauges(self) -> Mapping[str, float]:
        """Metrics that go up and down, by name."""
        return {
            "modelyard_inflight": self.dispatcher.unsettled - self.dispatcher.waiting,
            "modelyard_queue_depth": self.dispatcher.waiting,
            "modelyard_worker_up": sum(s.is_ready for s in self.supervisors),
            "modelyard_worker_rss_bytes": self.resident,
            "modelyard_model_loaded_bytes": self.loaded_bytes,
            "modelyard_model_peak_bytes": self.peak_bytes,
            "modelyard_batching": float(self.dispatcher.policy.merges),
            "modelyard_cache_bytes": self.dispatcher.cache.bytes if self.dispatcher.cache is not None else 0,
        }

    def counters(self) -> Mapping[str, float]:
        """Metrics that only go up, by name."""
        return {
            "modelyard_worker_restarts_total": self.restarts,
            "modelyard_retried_total": self.dispatcher.retried,
            **_cache_counters(self.dispatcher.cache),
        }

    # Loading and unloading.

    def load(self) -> None:
        """Start its workers, unless it has some already."""
        if self.phase not in ("unloaded", "failed"):
            return
        self.failure = None
        if self.dispatcher.cache is not None:
            self.dispatcher.cache.clear()
        self.dispatcher.obstacle = Failure("Starting", "the model is loading")
        failure = self._misfit(self.config.worker.count)
        if failure is not None:
            self.failure = self.last_failure = failure
            self._fail(failure)
            return
        self._settings_path.write_bytes(orjson.dumps(self.config.worker.config))
        self._settings_path.chmod(0o600)
        loop = asyncio.get_running_loop()
        count = 1 if self.config.inline is not None else self.config.worker.count
        self.supervisors = tuple(self._supervisor() for _ in range(count))
        self._tasks = tuple(loop.create_task(supervisor.run()) for supervisor in self.supervisors)
        self._enter("starting")

    async def loaded(self) -> Failure | None:
        """Wait until it is loaded, or until it is clear that it will not be; says why not."""
        while self.phase in ("starting", "unloading"):
            self._news.clear()
            await self._news.wait()
        return None if self.phase in ("ready", "unready") else (self.failure or self._not_loaded())

    async def unload(self, seconds: float) -> None:
        """Take no more requests, answer those that came within `seconds`, and end the workers.

        A worker's memory goes back to the system with its process.
        """
        if not self.is_wanted:
            return
        self.dispatcher.obstacle = self._not_loaded()
        self._enter("unloading")
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.dispatcher.unsettled and loop.time() < end:  # noqa: ASYNC110 - unloading is rare
            await asyncio.sleep(SETTLE_SECONDS)
        self.kill()
        await asyncio.gather(*self._tasks)
        self.dispatcher.refuse_waiting(self._not_loaded())
        self.supervisors, self._tasks = (), ()
        self.failure = None
        # Supervisors, links and tasks refer to one another, and this process looks for such rings rarely.
        gc.collect()
        self._enter("unloaded")

    def kill(self) -> None:
        """End its workers at once."""
        for supervisor in self.supervisors:
            supervisor.kill()

    async def close(self) -> None:
        """End its workers for good, whatever they do."""
        # `wait_for` may swallow a cancellation that comes together with news, so that the process's end and
        # the answer that no other is wanted must do as well.
        self.phase = "unloading"
        for task in self._tasks:
            task.cancel()
        self.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What supervisors tell.

    def worker_ready(self, supervisor: Supervisor, announced: Announced) -> None:
        """A worker's model is loaded."""
        loaded = announced.loaded or {}
        self.device = str(loaded.get("device") or "")
        self._learn_signature(loaded.get("signature"))
        self._learn_pace(loaded)
        self.loaded_bytes = resident_bytes(supervisor.pid) or self.loaded_bytes
        self.peak_bytes = max(self.peak_bytes, self.loaded_bytes)
        self.explain()
        self._log.info(
            "worker_ready",
            model=self.config.name,
            pid=supervisor.pid,
            device=self.device,
            memory_bytes=self.loaded_bytes,
            batch=self.explanation["reason"],
        )
        if not self.is_wanted or supervisor not in self.supervisors:
            return
        self.dispatcher.obstacle = None
        self.failure = None
        self._enter("ready")

    def worker_lost(self, supervisor: Supervisor, failure: Failure) -> bool:
        """A worker's process is gone; says whether to start another."""
        if not self.is_wanted or supervisor not in self.supervisors:
            return False
        self._log.error("worker_lost", model=self.config.name, reason=failure.reason, message=failure.message)
        self.failure = self.last_failure = failure
        if self.phase in ("starting", "failed"):
            self._fail(failure)
            return False
        # One that was never started, as there is no memory for it, did not die again.
        self.restarts += failure.reason != UNFIT
        if any(other.is_ready for other in self.supervisors if other is not supervisor):
            self._enter(self.phase)
            return True
        self._enter("unready")
        if not supervisor.has_served or supervisor.pause > GRACE_PAUSE_SECONDS:
            self._give_up(failure)
        else:
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._give_up, failure)
        return True

    def _fail(self, failure: Failure) -> None:
        """It cannot be loaded: no other worker need try."""
        self.dispatcher.obstacle = failure
        self.dispatcher.refuse_waiting(failure)
        first = self.phase != "failed"
        self._enter("failed")
        if first:
            self.kill()

    def _give_up(self, failure: Failure) -> None:
        """Turn requests away, also those that wait, unless a worker is ready again."""
        if self.phase == "unready":
            self.dispatcher.obstacle = failure
            self.dispatcher.refuse_waiting(failure)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._news.set()
        self._owner.changed(self)

    def _not_loaded(self) -> Failure:
        name = self.config.name
        return Failure(
            "NotLoaded", f'model "{name}" is not loaded: POST /v2/repository/models/{name}/load loads it'
        )

    def _called(self, work: Work, seconds: float) -> None:
        rows = sum(work.rows)
        self.metrics.batch_size.observe(rows)
        self.metrics.inference_seconds.observe(seconds)
        self.statistics.executed(rows, seconds)

    def _mismatched(self, reason: str) -> None:
        self._log.error("batching_ended", model=self.config.name, reason=reason)

    def _supervisor(self) -> Supervisor:
        if self.config.inline is not None:
            settings = str(self._settings_path)
            return InlineSupervisor(
                self.config, settings, dispatcher=self.dispatcher, listener=self, log=self._log
            )
        return Supervisor(
            self.config.worker,
            str(self._settings_path),
            dispatcher=self.dispatcher,
            listener=self,
            request_timeout_seconds=self.config.limits.request_timeout_seconds,
        )

    def _learn_pace(self, loaded: Mapping[str, Any]) -> None:
        """What the worker found out while it warmed up."""
        policy = self.dispatcher.policy
        warmup = loaded.get("warmup")
        said: Mapping[str, Any] = warmup if isinstance(warmup, dict) else {}
        tried = said.get("threads")
        self.threads = tried if isinstance(tried, dict) else {}
        obstacle = obstacle_in(self.model.signature) or str(said.get("obstacle") or "")
        match loaded.get("batchable", True):
            case False:
                obstacle = "the model's code says batchable = False, or yields its answers"
            case None if policy.mode != ON:
                obstacle = "the model's code is async: its requests are answered side by side"
        policy.allow(obstacle)
        with contextlib.suppress(TypeError, ValueError):
            row_bytes = int(said.get("row_bytes") or 0)
            for rows, seconds in said.get("costs") or ():
                policy.observe(int(rows), float(seconds), row_bytes)
        if said.get("failure"):
            self._log.error("warmup_failed", model=self.config.name, message=str(said["failure"]))

    def _learn_signature(self, document: object) -> None:
        """A model published without a signature may know it once it is loaded."""
        if self.model.signature.inputs or not isinstance(document, dict):
            return
        with contextlib.suppress(Rejected):
            self.model = replace(self.model, signature=compile_signature(document))


def _cache_counters(cache: ResponseCache | None) -> Mapping[str, float]:
    if cache is None:
        return {}
    return {"modelyard_cache_hits_total": cache.hits, "modelyard_cache_misses_total": cache.misses}


def _rules(limits: Limits) -> Rules:
    return Rules(
        limit=limits.queue,
        limit_bytes=QUEUE_BODIES * limits.max_body_bytes,
        max_delay=limits.batch.max_delay_seconds,
        retries=limits.retry,
    )


def _policy(config: ModelConfig) -> Policy:
    batch = config.limits.batch
    return Policy(
        mode=batch.mode,
        max_rows=batch.max_rows,
        slo_seconds=batch.slo_seconds,
        obstacle=obstacle_in(config.signature),
    )
