"""Runs replicas as pods: a Deployment and a Service for each revision, and nothing remembered here."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.backends.base import (
    ISOLATION,
    Answer,
    Called,
    Guest,
    Launch,
    LogLine,
    Outage,
    Rule,
    Shell,
    Task,
    Terminal,
    Unable,
)
from modelyard.backends.delivery import Courier, Wheels
from modelyard.backends.kubernetes import logs, names, projects, queues, rungs, volumes
from modelyard.backends.kubernetes.asking import Fronts
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import Wanted
from modelyard.backends.kubernetes.gpus.fragment import Refusal, told
from modelyard.backends.kubernetes.gpus.strategies import pods_of
from modelyard.backends.kubernetes.kinds import NODE, POD, Manifest, place
from modelyard.backends.kubernetes.nodes import class_labels, node_of
from modelyard.backends.kubernetes.observation import Wish, address, started_at
from modelyard.backends.kubernetes.packages import NONE, Packages, packages_of
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Desired, Settings
from modelyard.backends.kubernetes.replicas import Replicas
from modelyard.backends.kubernetes.scaling import Scalers
from modelyard.backends.kubernetes.tasks import Tasks
from modelyard.backends.kubernetes.upkeep import Note, Upkeep
from modelyard.backends.kubernetes.usage import Subject, Usage, Use, sample
from modelyard.backends.kubernetes.view import View
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.errors import BackendError, ModelyardError, NotFound
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model import File
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.mounts import Mount, refused_in_pod
from modelyard.domain.network import Network
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.quota import Quota
from modelyard.domain.runtime import HOST, IN_IMAGE
from modelyard.domain.tallies import Sample

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 600.0
_SHELL = "/bin/sh"
_CLOSED = "by NetworkPolicy, if the cluster's network enforces them; not where a pod asks a package index"
_OPEN = "not enforced: kubernetes.artifact_url names a host outside the cluster, which no NetworkPolicy can"
_ISOLATED = (
    "of isolated projects by NetworkPolicy, if the cluster's network enforces them, which nobody can see "
    "from here: `modelyard doctor kubernetes` says what is known of it"
)
_PATIENCE_SECONDS = 10.0
"""A cluster that is not heard of for less is just not quick to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an installation says about its cluster."""

    settings: Settings = field(default_factory=Settings)
    token: str = ""
    """What the platform shows to replicas."""
    runtime_lock: Callable[[str], str] | None = None
    """The packages, with their hashes, of the environment of an interpreter; empty for one that has none."""
    wheels: Wheels | None = None
    """What the platform lends of such packages; None where pods ask an index."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    courier: Courier | None = None
    """Lends files to replicas and tasks, and takes what tasks made."""
    new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    may_write: Callable[[], bool] = lambda: True
    """Whether this control plane leads; one that does not only looks."""


class KubernetesBackend:
    """Replicas as pods of one cluster; everything known about them is in the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        *,
        clock: Callable[[], float],
        changed: Callable[[Key], None] = lambda key: None,
        note: Note = lambda key, reason, message: None,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._view = View(
            cluster, home=options.settings.namespace, changed=changed, has_slices=options.capabilities.has_dra
        )
        self._fronts = Fronts(options.token, clock=clock)
        self._turns: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._upkeep = Upkeep(
            cluster, self._view, turn=self._turns.__getitem__, note=note, clock=clock,
            claims=lambda: self._replicas.capabilities.has_dra,
        )  # fmt: skip
        self._replicas = Replicas(
            cluster, self._view, self._fronts, self._upkeep, settings=options.settings,
            capabilities=options.capabilities, clock=clock,
        )  # fmt: skip
        self._scalers = Scalers(cluster, self._view, settings=options.settings, note=note, clock=clock)
        self._usage = Usage(cluster, clock=clock)
        self._clock = clock
        self._unheard: Outage | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._brought = False

    def outage(self) -> Outage | None:
        """Since when something is not heard of, once that has lasted so long that it matters."""
        since = self._view.stale_since
        seconds = 0.0 if since is None else asyncio.get_running_loop().time() - since
        if not self._view.follows:
            return None
        if seconds < _PATIENCE_SECONDS:
            # What is followed is silent for long when nothing happens, so that it tells late of a hang.
            return self._unheard
        why = self._view.trouble or "no answer yet"
        return Outage(self._clock() - seconds, f"the cluster's API server cannot be read: {why}")

    async def nodes(self) -> tuple[Node, ...]:
        """The nodes, also those that take no pods at the moment."""
        await self._begun()
        devices = self._replicas.capabilities.gpus.devices
        found = (node_of(each, devices) for each in self._view.nodes())
        return tuple(sorted(found, key=lambda node: node.name))

    async def classify(self, node: str, classes: frozenset[NodeClass]) -> None:
        """Label a node as of these classes; nothing that runs on it is moved."""
        patch: dict[str, object] = {"metadata": {"labels": class_labels(classes)}}
        await self._cluster.patch(NODE, node, patch, manager="modelyard-nodes")

    def unheard(self, outage: Outage | None) -> None:
        """What somebody found who asks the API server again and again; None when it answers."""
        self._unheard = outage

    def learn(self, capabilities: Capabilities) -> None:
        """What the cluster can do now; what runs stays as it is."""
        self._replicas.learn(capabilities)

    def refuses_gpus(self, wanted: GpuRequest) -> str:
        """What would have to be installed, when no way of this cluster serves the request."""
        if not wanted.divided or not self._view.follows:
            return ""
        found = pods_of(wanted, self._replicas.capabilities)
        return found.message if isinstance(found, Refusal) else ""

    async def settle(self, project: str, quota: Quota, network: Network) -> None:
        """The project's ResourceQuota, LimitRange and NetworkPolicies, as far as it is to have them."""
        await self._begun()
        gpus, wish = self._replicas.capabilities.gpus, projects.Bounds(quota=quota, network=network)
        await projects.settle(self._cluster, self._options.settings, project, wish, gpus)

    def gives_gpus(self, wanted: GpuRequest) -> str:
        """By which way of the cluster, as what, and what keeps it apart from others."""
        if not wanted.divided or not self._view.follows:
            return ""
        found = pods_of(wanted, self._replicas.capabilities)
        return "" if isinstance(found, Refusal) else told(wanted, found)

    def refuses_model_files(self, wanted: ModelFiles) -> str:
        """What would be needed, when nodes of this cluster cannot mount an image."""
        return volumes.refusal(wanted, self._replicas.capabilities)

    def refuses_mount(self, wanted: Mount) -> str:
        """A pod has places of its own."""
        return refused_in_pod(wanted)

    def refuses_images(self) -> str:
        """Every replica is a container."""
        return ""

    def enforcement(self) -> dict[str, str]:
        """What the cluster enforces, and what nobody can know of it from here."""
        return {
            "memory": "cgroup of the pod",
            "cpu": "requests are guaranteed, spare cores are shared",
            "gpu": "whole cards by the device plugin; parts by what the cluster has for them",
            "quotas of projects": "by the platform; a ResourceQuota of twice as much stops what others make",
            "network of validation and tests": self._closing(),
            "network of services": "not enforced",
            ISOLATION: networks.hinders(self._options.settings) or _ISOLATED,
            "images of servers": "run as they are",
            "mounts": "volumes of the pod",
            "isolation of other servers and shells": "a container without privileges",
        }

    def _closing(self) -> str:
        """How pods that try models are kept from the network."""
        if not self._options.settings.network_policies:
            return networks.OFF
        return _CLOSED if networks.closes(self._options.settings) else _OPEN

    def admits_tasks(self) -> str:
        """Kueue, where it is served and settings name a ClusterQueue."""
        queue = queues.chosen(self._options.settings, self._replicas.capabilities)
        return f"Kueue (ClusterQueue {queue})" if queue else ""

    async def run(self, task: Task) -> Answer:
        """Ask a guest in a Job; raises BackendError when nobody lends files to pods."""
        await self._begun()
        courier = self._options.courier
        if courier is None:
            raise BackendError("nothing lends files to pods, so that no model can be tried", retryable=False)
        tasks = Tasks(
            self._cluster, courier, pods=self._view.pods, settings=self._options.settings,
            capabilities=self._replicas.capabilities, new_id=self._options.new_id, clock=self._clock,
        )  # fmt: skip
        return await tasks.run(task, packages=await self._packages(task.guest))

    async def samples(self) -> tuple[Sample, ...]:
        """What every replica uses, from the metrics API, and what waits in its front."""
        if self.outage() is not None:
            return ()
        await self._begun()
        used = await self._usage.read()
        keys = self._view.keys()
        found = [(key, *each) for key in keys for each in self._replicas.running(key)]
        alive = frozenset(str(pod["metadata"]["uid"]) for _, _, pod in found)
        self._usage.forget(alive)
        self._fronts.forget(alive)
        return tuple(
            await asyncio.gather(
                *(self._sample(key, wish, pod, used.get(place(pod))) for key, wish, pod in found)
            )
        )

    async def _sample(self, key: Key, wish: Wish, pod: Manifest, use: Use | None) -> Sample:
        uid, here = str(pod["metadata"]["uid"]), address(pod, wish)
        state = await self._fronts.state(uid, here) if wish.own and here else {}
        spent = {} if use is None else {uid: self._usage.spent(uid, use)}
        return sample(Subject(str(key), wish.name, wish.revision, started_at(pod)), state, use, spent)

    async def observe(self, key: Key) -> tuple[Replica, ...]:
        """What the cluster says now, after putting right what names and pods disagree about.

        A control plane that does not lead puts nothing right.
        """
        await self._begun()
        async with self._turns[key]:
            return await self._replicas.observe(key, settle=self._options.may_write())

    async def scaled(self, key: Key, rule: Rule | None) -> Called | Unable:
        """Have an HPA, or KEDA, follow the rule; without one, remove what follows any."""
        await self._begun()
        async with self._turns[key]:
            if rule is not None:
                return await self._scalers.follow(rule, self._replicas.capabilities)
            await self._scalers.release(key)
            return Unable("the platform decides")

    async def keys(self) -> frozenset[Key]:
        """Every deployment that an object is left of."""
        await self._begun()
        return self._view.keys()

    async def start(self, launch: Launch) -> None:
        """Apply the revision and want one more replica of it. Raises BackendError when it is refused."""
        await self._begun()
        packages = NONE if launch.program else await self._packages(launch.guest)
        artifact = launch.guest.artifact
        files = (*artifact.files, *artifact.variant, *(packages.wheels or ()))
        desired = Desired(
            launch=launch,
            settings=self._options.settings,
            lock=packages.lock,
            wheels=packages.wheels,
            tokens=self._tokens(launch, files),
        )
        async with self._turns[launch.key]:
            await self._replicas.start(desired)

    def _tokens(self, launch: Launch, files: Sequence[File]) -> Mapping[str, str]:
        """What opens each file to the revision's pods."""
        if self._options.courier is not None:
            return self._options.courier.for_revision(launch.key, launch.revision, files)
        return {}

    async def _packages(self, guest: Guest) -> Packages:
        """What is to be installed when the pod starts; nothing for the runtime that the image has."""
        find = self._options.runtime_lock
        if find is None or guest.runtime in ("", HOST) or guest.interpreter == IN_IMAGE:
            return NONE
        return await packages_of(guest, find, self._options.wheels)

    async def drain(self, key: Key, replica: str) -> None:
        """Mark the pod as one that goes; it goes on answering, and leaves its Service when it stops."""
        await self._begun()
        async with self._turns[key]:
            await self._replicas.drain(key, replica)

    async def stop(self, key: Key, replica: str) -> None:
        """Want one less, and this one's pod deleted with all the time that it has to finish."""
        await self._begun()
        async with self._turns[key]:
            await self._replicas.stop(key, replica)

    async def kill(self, key: Key, replica: str) -> None:
        """Want one less, and this one's pod deleted at once."""
        await self._begun()
        async with self._turns[key]:
            await self._replicas.stop(key, replica, grace_seconds=0)
            await self._replicas.forget(key)

    async def ask(self, key: Key, replica: str, path: str) -> bytes:
        """What its front answers; raises BackendError."""
        found = next((each for each in await self.observe(key) if each.name == replica), None)
        if found is None or not found.address:
            raise BackendError(f"replica {replica} of {key} has no address", retryable=True)
        return await self._fronts.get(found.address, path, whom=replica)

    async def exec(
        self, key: Key, replica: str, command: Sequence[str], *, terminal: Terminal | None = None
    ) -> Shell:
        """Run a command in the container that answers; without words, its shell."""
        await self._begun()
        pod = self._replicas.pod(key, replica)
        if pod is None:
            raise NotFound(f"replica {replica} of {key} has no pod; `modelyard status` shows those that run")
        namespace, name = place(pod)
        return await self._cluster.exec(
            namespace, name, tuple(command) or (_SHELL,), container=names.SERVER, terminal=terminal
        )

    async def logs(
        self, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """The last `tail` lines of each replica by time; pods that are gone have no log any more."""
        await self._begun()

        def look() -> tuple[Wanted, ...]:
            return tuple(
                logs.sources(self._view.of(POD, key), replica=replica, tail=max(tail, 0), follow=follow)
            )

        lines = logs.followed(self._cluster, look) if follow else logs.told(self._cluster, look())
        async for line in lines:
            yield line

    async def _begun(self) -> None:
        """Return when it is known what there is; what nobody else would find is looked for beside."""
        await self._view.start()
        if not self._brought and self._options.may_write():
            await rungs.bring(self._cluster)
            self._brought = True
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            try:
                if self._options.may_write():
                    await self._upkeep.sweep()
            except ModelyardError as error:
                log.warning("objects of the cluster are not looked through: %s", error.message)
            except Exception:  # others write what they like into objects; the next look is due all the same
                log.exception("objects of the cluster are not looked through")
            await asyncio.sleep(_SWEEP_SECONDS)

    async def close(self) -> None:
        """Stop following the cluster; replicas go on."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._view.close()
        await self._fronts.close()
        await self._cluster.close()
