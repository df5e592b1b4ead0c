"""The front of one replica: its life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import orjson

from modelyard.oip.errors import Rejected
from modelyard.oip.model import ServedModel
from modelyard.oip.signature import compile_signature
from modelyard.serving.application import Application
from modelyard.serving.config import ReplicaConfig
from modelyard.serving.dispatcher import Dispatcher
from modelyard.serving.errors import Failure
from modelyard.serving.http.server import Server
from modelyard.serving.inference import Inference
from modelyard.serving.logs import Log
from modelyard.serving.metrics import Metrics
from modelyard.serving.state import StateFile
from modelyard.serving.workers.link import Link
from modelyard.serving.workers.process import resident_own_bytes
from modelyard.serving.workers.supervisor import Supervisor

HEARTBEAT_SECONDS = 1.0
GRACE_SECONDS = 3.0
"""Requests wait so long for a worker that died to be back; longer, and they had better ask elsewhere."""
GRACE_PAUSE_SECONDS = 0.5
"""Workers that die again and again are not waited for: their next start is further away than this."""
QUEUE_BODIES = 8
"""Waiting requests may hold this many bodies of the largest size."""


class Front:
    """One replica: listens, supervises workers, reports its state, drains."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self.model = ServedModel(config.name, config.version, config.platform, config.signature)
        self._log = Log({"replica": config.replica, "service": config.service, "revision": config.revision})
        self._metrics = Metrics(
            {
                "project": config.project,
                "service": config.name,
                "stage": config.stage,
                "model": config.model,
                "version": config.version,
            }
        )
        limits = config.limits
        self._dispatcher = Dispatcher(
            self._loop, limit=limits.queue, limit_bytes=QUEUE_BODIES * limits.max_body_bytes
        )
        self._application = Application(config, self, self._metrics, self._log, version=_own_version())
        self._server = Server(
            self._application,
            self._application.refuse,
            max_body_bytes=limits.max_body_bytes,
            idle_seconds=config.idle_seconds,
        )
        self._state = StateFile(config.state_path)
        self._supervisors: list[Supervisor] = []
        self._phase = "starting"
        self._failure: Failure | None = None
        self._last_failure: Failure | None = None
        self._device = ""
        self._restarts = 0
        self._was_ready = False
        self._over = asyncio.Event()
        self._terminations = 0
        self.address = ""

    # What the application asks.

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered now."""
        return self._phase == "ready"

    @property
    def obstacle(self) -> Failure | None:
        """Why not, when it is not."""
        if self._phase == "draining":
            return Failure("Draining", "the replica is leaving")
        return self._failure or self._dispatcher.obstacle

    def gauges(self) -> Mapping[str, float]:
        """Metrics that go up and down, by name."""
        return {
            "modelyard_inflight": self._dispatcher.unsettled - self._dispatcher.waiting,
            "modelyard_queue_depth": self._dispatcher.waiting,
            "modelyard_connections": self._server.connections,
            "modelyard_worker_up": sum(s.is_ready for s in self._supervisors),
            "modelyard_worker_rss_bytes": sum(s.resident for s in self._supervisors),
        }

    def counters(self) -> Mapping[str, float]:
        """Metrics that only go up, by name."""
        return {"modelyard_worker_restarts_total": self._restarts}

    # What supervisors tell.

    def worker_ready(self, supervisor: Supervisor, link: Link) -> None:
        """A worker's model is loaded."""
        loaded = link.loaded or {}
        self._device = str(loaded.get("device") or "")
        self._learn_signature(loaded.get("signature"))
        self._dispatcher.obstacle = None
        self._failure = None
        self._was_ready = True
        if self._phase != "draining":
            self._phase = "ready"
        self._log.info("worker_ready", pid=supervisor.pid, device=self._device)
        self._report()

    def worker_lost(self, supervisor: Supervisor, failure: Failure) -> bool:
        """A worker's process is gone; says whether to start another."""
        self._log.error("worker_lost", reason=failure.reason, message=failure.message)
        self._failure = self._last_failure = failure
        if not self._was_ready:
            self._phase = "failed"
            self._report()
            self._over.set()
            return False
        self._restarts += 1
        if not any(other.is_ready for other in self._supervisors if other is not supervisor):
            if not supervisor.has_served or supervisor.pause > GRACE_PAUSE_SECONDS:
                self._give_up(failure)
            else:
                self._loop.call_later(GRACE_SECONDS, self._give_up, failure)
            if self._phase != "draining":
                self._phase = "unready"
        self._report()
        return True

    def _give_up(self, failure: Failure) -> None:
        """Turn requests away, also those that wait, unless a worker is ready again."""
        if not any(supervisor.is_ready for supervisor in self._supervisors):
            self._dispatcher.obstacle = failure
            self._dispatcher.refuse_waiting(failure)

    # Life.

    async def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminate)
        self._report()
        inference = Inference(
            self._dispatcher,
            self._metrics,
            self._application.finish,
            timeout_seconds=self._config.limits.request_timeout_seconds,
            limit=self._config.limits.max_body_bytes,
        )
        self._application.serve_with(inference)
        try:
            self.address = await self._server.listen(self._config.listen)
        except OSError as error:
            return self._cannot_listen(error)
        self._log.info("listening", address=self.address)
        settings = self._write_worker_settings()
        self._supervisors = [self._supervisor(settings) for _ in range(self._config.worker.count)]
        tasks = [self._loop.create_task(supervisor.run()) for supervisor in self._supervisors]
        heartbeat = self._loop.create_task(self._beat())
        await self._over.wait()
        status = await self._leave()
        for task in (*tasks, heartbeat):
            task.cancel()
        await asyncio.gather(*tasks, heartbeat, return_exceptions=True)
        return status

    async def _leave(self) -> int:
        if self._phase == "failed":
            self._server.close()
            return 1
        if self._was_ready:
            self._phase = "draining"
            self._report()
            self._log.info("draining", unsettled=self._dispatcher.unsettled)
            await self._server.drain(self._config.limits.drain_seconds)
        self._server.close()
        self._log.info("stopped", unsettled=self._dispatcher.unsettled)
        return 0

    def _terminate(self) -> None:
        self._terminations += 1
        if self._terminations == 1:
            self._over.set()
            return
        for supervisor in self._supervisors:
            supervisor.kill()
        self._server.close()
        os._exit(0)

    def _cannot_listen(self, error: OSError) -> int:
        remedy = "stop what listens there, or choose another address"
        self._phase = "failed"
        self._failure = Failure(
            "PortInUse", f"cannot listen on {self._config.listen}: {error.strerror}; {remedy}"
        )
        self._log.error("cannot_listen", message=self._failure.message)
        self._report()
        return 1

    def _supervisor(self, settings: str) -> Supervisor:
        return Supervisor(
            self._config.worker,
            settings,
            dispatcher=self._dispatcher,
            listener=self,
            request_timeout_seconds=self._config.limits.request_timeout_seconds,
        )

    def _write_worker_settings(self) -> str:
        path = self._config.state_path.with_name("worker.json")
        path.write_bytes(orjson.dumps(self._config.worker.config))
        path.chmod(0o600)
        return str(path)

    def _learn_signature(self, document: object) -> None:
        """A model published without a signature may know it once it is loaded."""
        if self.model.signature.inputs or not isinstance(document, dict):
            return
        with contextlib.suppress(Rejected):
            self.model = replace(self.model, signature=compile_signature(document))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._report()
            self._state.beat()

    def _report(self) -> None:
        workers = [{"pid": supervisor.pid} for supervisor in self._supervisors if supervisor.pid]
        resident = resident_own_bytes(os.getpid()) + sum(s.resident for s in self._supervisors)
        state = {
            "pid": os.getpid(),
            "phase": self._phase,
            "failure": None if self._failure is None else self._failure._asdict(),
            "last_failure": None if self._last_failure is None else self._last_failure._asdict(),
            "worker_restarts": self._restarts,
            "memory_bytes": resident,
            "device": self._device,
            "workers": workers,
        }
        try:
            self._state.write(state)
        except OSError as error:
            self._log.request("state_not_written", message=str(error))


def _own_version() -> str:
    try:
        return version("modelyard")
    except PackageNotFoundError:
        return "0"
