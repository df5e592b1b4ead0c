"""The front of one replica: its life from start to drain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import count

from modelyard.serving.application import Application
from modelyard.serving.catalog import Catalog
from modelyard.serving.config import ReplicaConfig
from modelyard.serving.entrance import Entrance
from modelyard.serving.errors import Failure
from modelyard.serving.faces import all_routes, named_routes
from modelyard.serving.grpc.calls import Calls
from modelyard.serving.grpc.methods import all_methods
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.server import Server
from modelyard.serving.logs import Log
from modelyard.serving.state import StateFile
from modelyard.serving.workers.process import resident_own_bytes

HEARTBEAT_SECONDS = 1.0
EXPLAIN_BEATS = 10
"""The state says anew after so many heartbeats how requests share calls; that changes all the time."""


class Front:
    """One server: listens, keeps its models, reports its state, drains."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        first = config.models[0]
        self._log = Log({"replica": config.replica, "service": first.service, "revision": first.revision})
        self._models = tuple(
            HostedModel(model, self, self._log, settings_path=config.state_path.with_name(name))
            for model, name in zip(config.models, _settings_names(len(config.models)), strict=True)
        )
        self._application = Application(
            Catalog(self._models),
            self,
            self._log,
            shared_memory=config.shared_memory,
            # Behind a socket or in a pod, which only the platform's gateway is let in to.
            aliases=config.listen.startswith("unix:") or bool(config.platform_sha256),
        )
        self._application.offer(
            lambda: (
                all_routes(self._application, config, version=_own_version()),
                named_routes(self._application),
            )
        )
        self._server = Server(
            self._application,
            self._application.refuse,
            max_body_bytes=config.limits.max_body_bytes,
            idle_seconds=config.idle_seconds,
            accept=partial(Entrance, calls=Calls(self._application, all_methods(self._application))),
            planner=self._application.plan,
        )
        self._state = StateFile(config.state_path)
        self._phase = "starting"
        self._failure: Failure | None = None
        self._was_ready = False
        self._over = asyncio.Event()
        self._terminations = 0
        self.address = ""

    # What the application asks.

    @property
    def is_ready(self) -> bool:
        """Whether every model that is wanted can answer now."""
        return self._phase == "ready"

    @property
    def obstacle(self) -> Failure | None:
        """Why not, when it is not."""
        if self._phase == "draining":
            return Failure("Draining", "the replica is leaving")
        if self._failure is not None:
            return self._failure
        return next((m.obstacle for m in self._models if m.is_wanted and not m.is_ready), None)

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._server.connections

    @property
    def document(self) -> bytes:
        """What it said of itself last, JSON."""
        return self._state.last

    @property
    def failure(self) -> Failure | None:
        """Why it, or one of its models, failed."""
        return next((f for f in (self._failure, *(m.failure for m in self._models)) if f is not None), None)

    # What models tell.

    def changed(self, hosted: HostedModel) -> None:
        """A model's phase, workers or failure are others now."""
        if self._phase in ("draining", "failed"):
            return self._report()
        wanted = [model for model in self._models if model.is_wanted]
        if len(self._models) == 1 and hosted.phase == "failed" and not self._was_ready:
            # A replica that serves one model and cannot load it is of no use: whoever started it decides.
            self._phase = "failed"
            self._over.set()
        elif all(model.is_ready for model in wanted):
            self._phase = "ready"
            self._was_ready = True
        elif self._was_ready:
            self._phase = "unready"
        self._report()
        return None

    # Life.

    async def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminate)
        self._report()
        try:
            self.address = await self._server.listen(self._config.listen)
        except OSError as error:
            return self._cannot_listen(error)
        self._log.info("listening", address=self.address)
        for hosted in self._models:
            if hosted.config.load:
                hosted.load()
        heartbeat = self._loop.create_task(self._beat())
        await self._over.wait()
        status = await self._leave()
        heartbeat.cancel()
        await asyncio.gather(heartbeat, *(hosted.close() for hosted in self._models), return_exceptions=True)
        return status

    async def _leave(self) -> int:
        if self._phase == "failed":
            self._server.close()
            return 1
        if self._was_ready:
            self._phase = "draining"
            self._report()
            self._log.info("draining", unsettled=self._unsettled)
            await self._server.drain(self._config.limits.drain_seconds)
        self._server.close()
        self._log.info("stopped", unsettled=self._unsettled)
        return 0

    @property
    def _unsettled(self) -> int:
        return sum(hosted.dispatcher.unsettled for hosted in self._models)

    def _terminate(self) -> None:
        self._terminations += 1
        if self._terminations == 1:
            self._over.set()
            return
        for hosted in self._models:
            hosted.kill()
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

    async def _beat(self) -> None:
        for turn in count():
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if turn % EXPLAIN_BEATS == 0:
                for hosted in self._models:
                    hosted.explain()
            self._report()
            self._state.beat()

    def _report(self) -> None:
        failures = [self._failure, *(hosted.failure for hosted in self._models)]
        last = [hosted.last_failure for hosted in self._models]
        supervisors = [supervisor for hosted in self._models for supervisor in hosted.supervisors]
        resident = resident_own_bytes(os.getpid()) + sum(hosted.resident for hosted in self._models)
        state = {
            "pid": os.getpid(),
            "phase": self._phase,
            "failure": _first(failures),
            "last_failure": _first(last),
            "worker_restarts": sum(hosted.restarts for hosted in self._models),
            "memory_bytes": resident,
            "variant": self._models[0].config.variant,
            "inline": any(supervisor.is_inline for supervisor in supervisors),
            "device": next((hosted.device for hosted in self._models if hosted.device), ""),
            "inflight": self._unsettled,
            "queue": sum(hosted.dispatcher.waiting for hosted in self._models),
            "models": [hosted.as_json() for hosted in self._models],
            "workers": [{"pid": supervisor.pid} for supervisor in supervisors if supervisor.pid],
        }
        try:
            self._state.write(state)
        except OSError as error:
            self._log.request("state_not_written", message=str(error))


def _first(failures: Iterable[Failure | None]) -> dict[str, str] | None:
    return next((failure._asdict() for failure in failures if failure is not None), None)


def _settings_names(count: int) -> Iterable[str]:
    """File names for the workers' settings, one for each model."""
    return ["worker.json"] if count == 1 else [f"worker-{index}.json" for index in range(count)]


def _own_version() -> str:
    try:
        return version("modelyard")
    except PackageNotFoundError:
        return "0"
