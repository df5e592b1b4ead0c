"""A backend whose replicas are records in memory, in a world controlled by clock and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from modelyard.backends.base import (
    Answer,
    Called,
    Launch,
    LogLine,
    Outage,
    Output,
    Rule,
    Shell,
    Task,
    Terminal,
    Unable,
)
from modelyard.domain import gpu, model_files
from modelyard.domain.deployment import Failure, Key, Phase, Replica
from modelyard.domain.errors import BackendError, Conflict, NotFound
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.mounts import Mount
from modelyard.domain.network import Network
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.quota import Quota
from modelyard.domain.runtime import Runtime, RuntimeSpec, RuntimeState, RuntimeStatus, of_image
from modelyard.domain.tallies import Sample

ONE_NODE = (Node(name="memory", cpu_millis=4000, memory_bytes=8 << 30),)
_CRASH = Failure(reason="FrontCrashed", message="the serving process ended by itself")
_HOST = RuntimeStatus(state=RuntimeState.READY, interpreter="python3", python="3.11.7", lock="host")


class ManualClock:
    """Time that passes only when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast things happen, in seconds of the clock."""

    start_seconds: float = 1.0
    """From the start of a replica until it is ready, or until it reports why it cannot be."""
    stop_seconds: float = 1.0
    """From being told to stop until it is gone, unless its `drain_seconds` are fewer."""
    build_seconds: float = 1.0
    """From the beginning of a runtime's build until it is ready or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    launch: Launch
    started_at: float
    pid: int
    load_failure: Failure | None = None
    broken: Failure | None = None
    """Set while it is made unready by hand."""
    crashed: Failure | None = None
    draining_since: float = 0.0
    stopping_since: float = 0.0


class MemoryBackend:
    """Replicas that become ready, drain and go as `clock` passes, and crash when told to."""

    def __init__(
        self, *, clock: Callable[[], float], nodes: Sequence[Node] = ONE_NODE, pace: Pace | None = None
    ) -> None:
        self.load: Callable[[Launch], Failure | None] = lambda launch: None
        """Decides at the start of a replica whether its model will load."""
        self.uses: Callable[[Launch], tuple[int, int]] = lambda launch: (0, 0)
        """Bytes of a worker once its model is loaded, and the most that it ever uses."""
        self.answer: Callable[[Task], Answer] = lambda task: Answer(result={"outputs": {}})
        """What guests answer to `run`."""
        self.use: Callable[[Sample], Sample] | None = None
        """Says what a replica uses."""
        self.away: Outage | None = None
        """Set while nothing can be observed."""
        self.front: Callable[[Launch, str], bytes] = lambda launch, path: b""
        """What fronts answer to `ask`."""
        self._clock = clock
        self._nodes = tuple(nodes)
        self._pace = pace or Pace()
        self._entries: dict[Key, dict[str, _Entry]] = {}
        self._lines: dict[Key, list[LogLine]] = {}
        self._pids = 0

    async def nodes(self) -> tuple[Node, ...]:
        """The machines given."""
        return self._nodes

    async def classify(self, node: str, classes: frozenset[NodeClass]) -> None:
        """One machine does everything."""
        raise Conflict("this platform runs on one machine, which has every class; classes divide a cluster")

    async def scaled(self, key: Key, rule: Rule | None) -> Called | Unable:
        """Nobody else is there."""
        return Unable("one machine has no autoscaler of its own")

    def refuses_gpus(self, wanted: GpuRequest) -> str:
        """Whole cards alone, as on one machine."""
        return gpu.whole_only(wanted)

    async def settle(self, project: str, quota: Quota, network: Network) -> None:
        """Records are all there is."""

    def gives_gpus(self, wanted: GpuRequest) -> str:
        """Nothing to tell: cards are given out whole."""
        return ""

    def refuses_model_files(self, wanted: ModelFiles) -> str:
        """There are no volumes of a cluster here."""
        return model_files.of_cluster_only(wanted)

    def refuses_mount(self, wanted: Mount) -> str:
        """Records may have anything anywhere."""
        return ""

    def refuses_images(self) -> str:
        """Records may say that they are of any image."""
        return ""

    def outage(self) -> Outage | None:
        """What `away` says."""
        return self.away

    def enforcement(self) -> dict[str, str]:
        """Records need no limits."""
        return {"memory": "not enforced", "cpu": "not enforced", "gpu": "not enforced"}

    async def observe(self, key: Key) -> tuple[Replica, ...]:
        """What runs now, by name."""
        self._settle()
        return tuple(self._replica(self._entries[key][name]) for name in sorted(self._entries.get(key, {})))

    async def samples(self) -> tuple[Sample, ...]:
        """What `use` says of every replica that is ready; nothing is known without it."""
        if self.use is None:
            return ()
        ready = [(k, r) for k in await self.keys() for r in await self.observe(k) if r.phase is Phase.READY]
        samples = (
            Sample(service=str(k), replica=r.name, revision=r.revision, started_at=r.started_at)
            for k, r in ready
        )
        return tuple(map(self.use, sorted(samples, key=lambda sample: sample.replica)))

    async def keys(self) -> frozenset[Key]:
        """Every deployment with a replica that was not killed and did not stop."""
        self._settle()
        return frozenset(key for key, entries in self._entries.items() if entries)

    async def start(self, launch: Launch) -> None:
        """Begin a replica; one of the same name that is there already is left alone."""
        self._settle()
        entries = self._entries.setdefault(launch.key, {})
        if launch.replica in entries:
            return
        self._pids += 1
        entries[launch.replica] = _Entry(
            launch=launch, started_at=self._clock(), pid=self._pids, load_failure=self.load(launch)
        )
        self.write(launch.key, launch.replica, f"loading {launch.model}@{launch.version}")

    async def drain(self, key: Key, replica: str) -> None:
        """Mark a replica as leaving; the first time counts."""
        self._settle()
        if (entry := self._find(key, replica)) and not entry.draining_since:
            self._set(replace(entry, draining_since=self._clock()))

    async def stop(self, key: Key, replica: str) -> None:
        """Let a replica end within its drain time."""
        self._settle()
        if (entry := self._find(key, replica)) and not entry.stopping_since:
            self._set(replace(entry, stopping_since=self._clock()))

    async def kill(self, key: Key, replica: str) -> None:
        """Forget a replica at once."""
        self._entries.get(key, {}).pop(replica, None)

    async def ask(self, key: Key, replica: str, path: str) -> bytes:
        """What `front` says."""
        entry = self._find(key, replica)
        if entry is None:
            raise BackendError(f"replica {replica} does not run")
        return self.front(entry.launch, path)

    def admits_tasks(self) -> str:
        """Nobody's beside the platform's."""
        return ""

    async def run(self, task: Task) -> Answer:
        """What `answer` says."""
        return self.answer(task)

    async def exec(
        self, key: Key, replica: str, command: Sequence[str], *, terminal: Terminal | None = None
    ) -> Shell:
        """A command that writes its own words and ends well."""
        self._settle()
        if self._find(key, replica) is None:
            raise NotFound(f"there is no replica {replica}")
        return _Echo(" ".join(command))

    async def logs(
        self, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """Lines written with `write`; following looks again a hundred times a second."""
        seen = len(self._lines.get(key, []))
        wanted = [line for line in self._lines.get(key, []) if replica in ("", line.replica)]
        for line in wanted[max(0, len(wanted) - tail) :]:
            yield line
        while follow:
            await asyncio.sleep(0.01)
            added = self._lines.get(key, [])[seen:]
            seen += len(added)
            for line in added:
                if replica in ("", line.replica):
                    yield line

    async def close(self) -> None:
        """Nothing is held."""

    def crash(self, key: Key, replica: str, failure: Failure = _CRASH) -> None:
        """End a replica's process; it observes as failed until it is killed."""
        if entry := self._find(key, replica):
            self._set(replace(entry, crashed=failure))

    def set_unready(self, key: Key, replica: str, failure: Failure | None) -> None:
        """Make a ready replica unready for a reason; None makes it ready again."""
        if entry := self._find(key, replica):
            self._set(replace(entry, broken=failure))

    def write(self, key: Key, replica: str, text: str) -> None:
        """Add one line to a replica's log."""
        self._lines.setdefault(key, []).append(LogLine(replica, text))

    def _settle(self) -> None:
        """Remove what has stopped by now."""
        for key, entries in self._entries.items():
            self._entries[key] = {name: each for name, each in entries.items() if not self._stopped(each)}

    def _stopped(self, entry: _Entry) -> bool:
        if not entry.stopping_since:
            return False
        patience = min(self._pace.stop_seconds, entry.launch.spec.drain_seconds)
        return entry.crashed is not None or self._clock() >= entry.stopping_since + patience

    def _find(self, key: Key, replica: str) -> _Entry | None:
        return self._entries.get(key, {}).get(replica)

    def _set(self, entry: _Entry) -> None:
        self._entries[entry.launch.key][entry.launch.replica] = entry

    def _replica(self, entry: _Entry) -> Replica:
        phase, failure = self._phase(entry)
        launch = entry.launch
        loaded_bytes, peak_bytes = self.uses(launch) if phase is Phase.READY else (0, 0)
        return Replica(
            name=launch.replica,
            revision=launch.revision,
            phase=phase,
            address=f"unix:/memory/{launch.key}/{launch.replica}",
            second_address=_second(launch),
            pid=entry.pid,
            started_at=entry.started_at,
            draining_since=entry.draining_since,
            stopping_since=entry.stopping_since,
            failure=failure,
            loaded_bytes=loaded_bytes,
            peak_bytes=peak_bytes,
            gpus=launch.gpus,
            cpu_millis=launch.cpu_millis,
            memory_reserved=launch.memory_bytes,
            variant=launch.guest.variant.value,
            inline=launch.guest.inline,
        )

    def _phase(self, entry: _Entry) -> tuple[Phase, Failure | None]:
        loaded = self._clock() >= entry.started_at + self._pace.start_seconds
        dead = entry.crashed or (entry.load_failure if loaded else None)
        if dead:
            return Phase.FAILED, dead
        if entry.stopping_since:
            return Phase.STOPPING, None
        if entry.draining_since:
            return Phase.DRAINING, None
        if not loaded:
            return Phase.STARTING, None
        return (Phase.UNREADY, entry.broken) if entry.broken else (Phase.READY, None)


def _second(launch: Launch) -> str:
    """The address of a server's second port, which nobody listens on."""
    several = launch.program is not None and len(launch.program.ports) > 1
    return f"unix:/memory/{launch.key}/{launch.replica}/2" if several else ""


class _Echo:
    """A shell whose command says itself what it was asked, and then what it is told."""

    def __init__(self, text: str) -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._said.put_nowait(f"{text}\n".encode())

    async def read(self) -> Output | None:
        """The words, then the input, until that ends."""
        data = await self._said.get()
        return Output("stdout", data) if data else None

    async def write(self, data: bytes) -> None:
        """Say it too."""
        self._said.put_nowait(data)

    async def resize(self, terminal: Terminal) -> None:
        """There is no window."""

    async def wait(self) -> int:
        """It always ends well."""
        return 0

    async def close(self) -> None:
        """Say no more."""
        self._said.put_nowait(b"")


class MemoryEnvironments:
    """Runtimes that are built as `clock` passes; `fail` decides which of them never are."""

    def __init__(
        self, *, clock: Callable[[], float], host: RuntimeStatus = _HOST, pace: Pace | None = None
    ) -> None:
        self.fail: Callable[[RuntimeSpec], Failure | None] = lambda spec: None
        """Decides at the beginning of a build whether it will fail."""
        self._clock = clock
        self._host = host
        self._pace = pace or Pace()
        self._builds: dict[tuple[str, tuple[str, ...]], tuple[float, Failure | None]] = {}

    async def host(self) -> RuntimeStatus:
        """The status given."""
        return self._host

    async def observe(self, runtime: Runtime) -> RuntimeStatus:
        """Pending before the build, then building, then ready or failed."""
        if runtime.spec.interpreter:
            return replace(self._host, interpreter=runtime.spec.interpreter, lock=runtime.spec.interpreter)
        if runtime.spec.image and not runtime.spec.packages:
            return of_image(runtime.spec.image)
        build = self._builds.get(_identity(runtime.spec))
        if build is None:
            return RuntimeStatus()
        begun, failure = build
        if self._clock() < begun + self._pace.build_seconds:
            return RuntimeStatus(state=RuntimeState.BUILDING, message="installing packages")
        if failure:
            return RuntimeStatus(state=RuntimeState.FAILED, reason=failure.reason, message=failure.message)
        pins = [package.partition("==") for package in runtime.spec.packages]
        return RuntimeStatus(
            state=RuntimeState.READY,
            interpreter=f"/memory/{runtime.name}/bin/python",
            python=runtime.spec.python or self._host.python,
            packages={name: version or "1.0" for name, _, version in pins},
            image=runtime.spec.image,
            lock="+".join((runtime.spec.python, *runtime.spec.packages)),
        )

    async def build(self, runtime: Runtime) -> None:
        """Begin now; a failed build begins again, one that runs or is done goes on."""
        if (await self.observe(runtime)).state in (RuntimeState.PENDING, RuntimeState.FAILED):
            self._builds[_identity(runtime.spec)] = (self._clock(), self.fail(runtime.spec))

    async def remove(self, runtime: Runtime, *, others: Sequence[RuntimeSpec] = ()) -> None:
        """Forget the environment unless one of `others` is the same."""
        if _identity(runtime.spec) not in {_identity(other) for other in others}:
            self._builds.pop(_identity(runtime.spec), None)


def _identity(spec: RuntimeSpec) -> tuple[str, tuple[str, ...]]:
    return spec.python, tuple(sorted(spec.packages))
