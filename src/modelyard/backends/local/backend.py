"""Runs replicas as processes of this machine that outlive the control plane."""

from __future__ import annotations

import asyncio
import importlib.util
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from modelyard.backends import documents
from modelyard.backends.base import (
    ISOLATION,
    Answer,
    Called,
    Launch,
    LogLine,
    Outage,
    Rule,
    Shell,
    Task,
    Terminal,
    Unable,
)
from modelyard.backends.local import asking, environment, isolation, logs, nodes, shell
from modelyard.backends.local import task as tasks
from modelyard.backends.local.nodes import Capacity
from modelyard.backends.local.options import Options
from modelyard.backends.local.places import Places, mark
from modelyard.backends.local.replicas import Replicas
from modelyard.backends.local.sampling import Sampling
from modelyard.domain import gpu, model_files
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.errors import BackendError, Conflict
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.mounts import Mount
from modelyard.domain.network import Network
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.quota import Quota
from modelyard.domain.tallies import Sample

T = TypeVar("T")
_LOOK_SECONDS = 0.2
_GUEST = "modelyard_worker"
_ISOLATION = (
    "by construction, of every project: replicas listen at sockets of the platform's user, where the gateway "
    "asks; not enforced for ports of other servers, which every process of this machine reaches, and against "
    "code of models, which runs as that user; lists of who is let in change nothing"
)


class LocalBackend:
    """Replicas as detached processes; everything known about them is on disk and in /proc.

    `directory` keeps launch files, logs and tasks; `socket_directory` must be short; `interpreter` is the
    Python that has `modelyard.serving`. Raises Invalid when socket paths would be too long, OSError when the
    directories cannot be made.
    """

    def __init__(
        self,
        *,
        directory: Path,
        socket_directory: Path,
        interpreter: str,
        clock: Callable[[], float],
        capacity: Capacity | None = None,
        options: Options | None = None,
    ) -> None:
        self._options = options or Options()
        self._places = Places(directory.absolute(), socket_directory.absolute())
        self._places.prepare()
        self._worker = Path(self._options.worker) if self._options.worker else guest_host()
        self._replicas = Replicas(
            self._places, self._options, clock, interpreter=interpreter, worker=self._worker
        )
        self._sampling = Sampling(self._places, gpu_ratios=nodes.gpu_ratios)
        self._capacity = capacity
        self._node: Node | None = None
        self._turns: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        tasks.sweep(self._places.tasks)

    async def nodes(self) -> tuple[Node, ...]:
        """This machine; looked at once, because neither processors nor GPUs come and go."""
        if self._node is None:
            self._node = await asyncio.to_thread(nodes.discover, self._capacity)
        return (self._node,)

    async def classify(self, node: str, classes: frozenset[NodeClass]) -> None:
        """One machine does everything."""
        raise Conflict("this platform runs on one machine, which has every class; classes divide a cluster")

    async def scaled(self, key: Key, rule: Rule | None) -> Called | Unable:
        """One machine has nobody else who could."""
        return Unable("one machine has no autoscaler of its own")

    def refuses_gpus(self, wanted: GpuRequest) -> str:
        """Whole cards are all that can be kept apart here."""
        return gpu.whole_only(wanted)

    async def settle(self, project: str, quota: Quota, network: Network) -> None:
        """Nobody else starts replicas on this machine, and replicas are in no network that others reach."""

    def gives_gpus(self, wanted: GpuRequest) -> str:
        """Nothing to tell: cards are given out whole."""
        return ""

    def refuses_model_files(self, wanted: ModelFiles) -> str:
        """There are no volumes of a cluster here."""
        return model_files.of_cluster_only(wanted)

    def refuses_mount(self, wanted: Mount) -> str:
        """Wherever it is, it is a link below the replica's directory."""
        return ""

    def refuses_images(self) -> str:
        """Replicas are processes here."""
        return (
            "replicas of this installation are processes of one machine, which has no containers; give "
            "`packages`, or an `interpreter` that is there, or run the platform on Kubernetes"
        )

    def outage(self) -> Outage | None:
        """Never: a machine always knows of its own processes."""
        return None

    def enforcement(self) -> dict[str, str]:
        """What is enforced and how; what this machine cannot enforce says so."""
        isolated = self._options.isolate_tasks and isolation.without_network()
        return {
            "memory": "watched",
            "cpu": "threads only",
            "gpu": "assigned whole, hidden from others by environment",
            "quotas of projects": "by the platform, before replicas start",
            "network of validation and tests": "no network" if isolated else "not enforced",
            "network of services": "not enforced",
            ISOLATION: _ISOLATION,
            "images of servers": "not enforced: a command of this machine runs instead",
            "mounts": "links below MODELYARD_MOUNT_DIR; sizes of memory are not enforced",
            "isolation of other servers and shells": "not enforced: they run as the platform's user",
        }

    async def observe(self, key: Key) -> tuple[Replica, ...]:
        """What /proc and the fronts say now."""
        return await self._turn(key, partial(self._replicas.observe, key))

    async def samples(self) -> tuple[Sample, ...]:
        """What the processes of replicas have used, and what waits in their fronts."""
        return await asyncio.to_thread(lambda: self._sampling.samples(self._replicas.keys()))

    async def keys(self) -> frozenset[Key]:
        """Every deployment that has a replica on disk."""
        return await asyncio.to_thread(self._replicas.keys)

    async def start(self, launch: Launch) -> None:
        """Start a front. Raises BackendError when files or the process cannot be made."""
        (node,) = await self.nodes()
        await self._turn(launch.key, partial(self._replicas.start, launch, node))

    async def drain(self, key: Key, replica: str) -> None:
        """Remember that a replica is leaving."""
        await self._turn(key, partial(self._replicas.drain, key, replica))

    async def stop(self, key: Key, replica: str) -> None:
        """Send SIGTERM, once."""
        await self._turn(key, partial(self._replicas.stop, key, replica))

    async def kill(self, key: Key, replica: str) -> None:
        """Send SIGKILL to the front and all its kin, and remove their files."""
        await self._turn(key, partial(self._replicas.kill, key, replica))

    async def ask(self, key: Key, replica: str, path: str) -> bytes:
        """What its front answers at its socket."""
        home = self._places.replica(key, replica)
        return await asking.get(self._places.socket(mark(home)), path, whom=replica)

    def admits_tasks(self) -> str:
        """Nobody's: a process begins when it is started."""
        return ""

    async def run(self, task: Task) -> Answer:
        """Ask a guest; what goes wrong is in the answer. Raises BackendError when the disk refuses."""
        (node,) = await self.nodes()
        isolated = self._options.isolate_tasks
        prefix = await asyncio.to_thread(isolation.without_network) if isolated else ()
        try:
            async with tasks.workplace(self._places.tasks) as home:
                answer = await tasks.run(self._order(task, home, prefix=prefix, node=node))
                if task.out is not None and answer.result is not None:
                    await asyncio.to_thread(tasks.collect, home, task.out)
                return answer
        except OSError as error:
            raise _refused(error) from error

    async def exec(
        self, key: Key, replica: str, command: Sequence[str], *, terminal: Terminal | None = None
    ) -> Shell:
        """Run a command beside the replica's own processes; it ends with them."""
        try:
            return await shell.run(self._places.replica(key, replica), command, terminal)
        except OSError as error:
            raise _refused(error) from error

    async def logs(
        self, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """The last `tail` lines of each replica, the one that wrote last at the end.

        Replicas that are gone are asked for by name; without one they show only when nothing else exists.
        """
        directory = self._places.logs / key.project / key.service
        followers = logs.Followers(directory, replica)
        if follow:
            await asyncio.to_thread(followers.begin)
        alive = await asyncio.to_thread(self._places.names, key)
        for log in await asyncio.to_thread(partial(logs.chosen, directory, alive=alive, replica=replica)):
            lines = await asyncio.to_thread(partial(logs.tail, log, tail, end=followers.begun(log)))
            for text in lines:
                yield LogLine(log.stem, text)
        while follow:
            for line in await asyncio.to_thread(followers.read):
                yield line
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Nothing is held that replicas need."""

    async def _turn(self, key: Key, act: Callable[[], T]) -> T:
        """Act in a thread, one at a time for each deployment."""
        async with self._turns[key]:
            try:
                return await asyncio.to_thread(act)
            except OSError as error:
                raise _refused(error) from error

    def _order(self, task: Task, home: Path, *, prefix: tuple[str, ...], node: Node) -> tasks.Order:
        threads = environment.threads(0, node_millis=node.cpu_millis)
        place = environment.Place(
            work=str(home / "work"),
            temporary=str(home / "tmp"),
            config="",
            node=node.name,
            mark=mark(home),
            threads=threads,
        )
        return tasks.Order(
            task=task,
            prefix=prefix,
            worker=self._worker,
            config=documents.of_worker(task.guest, threads=threads) | tasks.compiling(task, home),
            env=environment.of_task(task.guest, place, gpus=task.gpus),
            home=home,
            output_bytes=self._options.output_bytes,
        )


def guest_host() -> Path:
    """Directory of the installed guest's host; found, never imported."""
    spec = importlib.util.find_spec(_GUEST)
    if spec is None or spec.origin is None:
        raise BackendError(
            f"{_GUEST} is not installed beside modelyard; install modelyard again", retryable=False
        )
    return Path(spec.origin).parent


def _refused(error: OSError) -> BackendError:
    return BackendError(
        f"the machine refuses: {error.strerror or error}; free disk space and check permissions"
    )
