"""The life of one pod: its init containers in turn, then its containers, until it is told to go."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.support.cluster import policies, quantities
from tests.support.cluster.processes import devices, environ, probing, volumes
from tests.support.cluster.processes.containers import Container, Log, Program, start
from tests.support.cluster.processes.environ import ConfigMissing, Image, expand
from tests.support.cluster.processes.volumes import ImageMissing, Storage, VolumeBroken, Volumes
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, with_condition

_FIRST_BACK_OFF = 0.5
"""Seconds; the real kubelet takes ten, and doubles them as this one does."""


@dataclass(slots=True)
class Part:
    """One container of the pod, over all its restarts."""

    spec: Object
    initial: bool
    """Whether it is one of `initContainers`."""
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: Object = field(default_factory=dict)
    ready: bool = False
    started: bool = False
    restarts: int = 0
    logs: list[Log] = field(default_factory=list)
    container: Container | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """That it has started once, and what comes after it may."""
    stays: bool = True
    """Whether it is started again when it ends, as far as its pod says so."""

    @property
    def accompanies(self) -> bool:
        """Whether it starts before the others and runs until they ended."""
        return self.initial and self.spec.get("restartPolicy") == "Always"

    @property
    def prepares(self) -> bool:
        """Whether it ends before the others start."""
        return self.initial and not self.accompanies

    @property
    def prepared(self) -> bool:
        """Whether the others may start, as far as it is one that goes before them."""
        return self.up.is_set() if self.accompanies else self.state.get("terminated", {}).get("exitCode") == 0

    def begun(self) -> None:
        """It runs, and does not only begin to."""
        self.started = True
        self.up.set()

    @property
    def status(self) -> Object:
        """As the pod's status has it."""
        found = {
            "name": self.spec["name"], "image": self.spec["image"], "imageID": "", "ready": self.ready,
            "started": self.started, "restartCount": self.restarts, "state": self.state,
        }  # fmt: skip
        return found | ({"lastState": self.last} if self.last else {})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs and what it may find there."""

    home: Path
    """The pod's own directory."""
    ip: str
    images: Callable[[str], Image | None]
    storage: Storage
    enforces: bool = False
    """Whether NetworkPolicies decide where it may connect to, and who to it."""


class Pod:
    """A pod that runs here."""

    def __init__(self, hand: Hand, value: Object, place: Place) -> None:
        self._hand, self._value, self._place, self.ip = hand, value, place, place.ip
        spec = value["spec"]
        self.parts = [Part(each, initial=True) for each in spec.get("initContainers", ())]
        self.parts += [Part(each, initial=False) for each in spec["containers"]]
        self._leaving = asyncio.Event()
        self._grace = 0.0
        self._beside: list[asyncio.Task[bool]] = []
        self.over = False
        self._phase = "Pending"

    def leave(self, grace: float) -> None:
        """It is to go within so many seconds; a shorter time counts when it is said later."""
        if self._leaving.is_set() and grace >= self._grace:
            return
        again, self._grace = self._leaving.is_set(), grace
        self._leaving.set()
        if again:
            self.kill()

    def kill(self) -> None:
        """End all its processes at once."""
        for part in self.parts:
            if part.container is not None:
                part.container.tell(signal.SIGKILL)

    async def gone(self) -> None:
        """End all its processes at once, and wait for that."""
        self.kill()
        live = [part.container for part in self.parts if part.container is not None]
        await asyncio.gather(*(container.gone() for container in live))

    async def run(self) -> None:
        """From its beginning to its end."""
        running = asyncio.create_task(self._live())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            self._report()
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self._leaving.is_set():
                await self._stop()
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a kubelet goes on with its other pods; the test's output has it
            traceback.print_exc()
        finally:
            # Whoever would start again what ends now goes first.
            tasks = (running, leaving, *self._beside)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.kill()
            self.over = True

    async def _live(self) -> None:
        for part in (each for each in self.parts if each.initial):
            if part.accompanies:
                self._beside.append(asyncio.create_task(self._keep(part)))
                await part.up.wait()
                continue
            while not await self._once(part):
                if self._policy == "Never":
                    return self._end("Failed")
                await self._back_off(part)
        self._phase = "Running"
        serving = [part for part in self.parts if not part.initial]
        ended = await asyncio.gather(*(self._keep(part) for part in serving))
        await self._end_companions(float(self._value["spec"].get("terminationGracePeriodSeconds", 30)))
        await asyncio.gather(*self._beside)
        return self._end("Succeeded" if all(ended) else "Failed")

    async def _keep(self, part: Part) -> bool:
        """Run a container, again and again unless the pod says otherwise; whether it ended well."""
        while True:
            well = await self._once(part)
            if self._leaving.is_set():
                await asyncio.Event().wait()  # whoever ends the pod says what became of it
            if not part.stays:
                return well
            if part.accompanies:
                await self._back_off(part)
                continue
            if self._policy == "Never" or (self._policy == "OnFailure" and well):
                return well
            await self._back_off(part)

    async def _once(self, part: Part) -> bool:
        """Run a container once; whether it ended well."""
        program = await self._prepared(part)
        log = Log()
        part.logs.append(log)
        part.container = await start(program, log, now=self._hand.cluster.store.now)
        part.state = {"running": {"startedAt": part.container.started_at}}
        part.started = False
        if part.prepares or "startupProbe" not in part.spec:
            part.begun()
        part.ready = part.started and not part.prepares and "readinessProbe" not in part.spec
        self._report()
        asking = self._probes(part) if not part.prepares else []
        code = await part.container.gone()
        for task in asking:
            task.cancel()
        self._ended(part, part.container, code)
        return code == 0

    def _ended(self, part: Part, container: Container, code: int) -> None:
        log = part.logs[-1]
        log.over = True
        log.ring()
        reason = "Completed" if code == 0 else "Error"
        message = container.last_words
        if not message and code and part.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = "\n".join(line.text for line in log.lines[-80:])[-2048:]
        if container.out_of_memory:
            reason, code = "OOMKilled", 137
        ended = {"exitCode": code, "reason": reason, "startedAt": container.started_at}
        ended |= {"finishedAt": self._hand.cluster.store.now()} | ({"message": message} if message else {})
        part.state = {"terminated": ended}
        part.ready = part.prepares and code == 0
        part.started = False
        part.container = None
        self._report()

    async def _back_off(self, part: Part) -> None:
        seconds = min(_FIRST_BACK_OFF * 2**part.restarts, 300.0)
        part.restarts += 1
        part.last = part.state
        name = self._value["metadata"]["name"]
        message = f"back-off {seconds:g}s restarting failed container={part.spec['name']} pod={name}"
        part.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._report()
        await asyncio.sleep(seconds)

    async def _prepared(self, part: Part) -> Program:
        """What to run, once its image and its configuration are there; until then it says what is missing."""
        while True:
            try:
                return self._program(part)
            except (ConfigMissing, VolumeBroken) as error:
                part.state = {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}}
            except ImageMissing as error:
                message = f'Back-off pulling image "{error}"'
                part.state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            self._report()
            await asyncio.sleep(0.2)

    def _program(self, part: Part) -> Program:
        image = self._place.images(part.spec["image"])
        if image is None:
            raise ImageMissing(part.spec["image"])
        pod = {**self._value, "status": {"podIP": self.ip, "hostIP": "127.0.0.1"}}
        image, driver = devices.driver(self._hand, pod, part.spec, self._place.home, image)
        env = environ.variables(self._hand, pod, part.spec, image)
        laid = Volumes(self._hand, pod, self._place.home, self._place.storage).laid()
        words = [*(part.spec.get("command") or image.command), *part.spec.get("args", ())]
        limit = part.spec.get("resources", {}).get("limits", {}).get("memory")
        return Program(
            argv=[expand(word, env) for word in words],
            env=env,
            cwd=part.spec.get("workingDir") or "/",
            mounts=[*volumes.mounts(part.spec, laid), *driver],
            home=self._place.home / part.spec["name"],
            memory_bytes=int(quantities.parse(limit)) if limit else 0,
            judge=self._may_reach if self._place.enforces else None,
        )

    def _may_reach(self, ip: str, port: int) -> bool:
        """What policies say of a connection now, of the pod as it is now."""
        name = (self._value["metadata"]["namespace"], self._value["metadata"]["name"])
        pod = self._hand.get("Pod", name) or self._value
        here = {**pod, "status": {**pod.get("status", {}), "podIP": self.ip}}
        return policies.allows(self._hand.cluster, here, ip, port)

    def _probes(self, part: Part) -> list[asyncio.Task[None]]:
        container = part.container
        assert container is not None

        async def ready(good: bool, _: str) -> None:
            part.ready = good
            self._report()

        async def alive(good: bool, _: str) -> None:
            if not good:
                self._tell_killing(part, "liveness")
                container.tell(signal.SIGTERM)
                await asyncio.sleep(1)
                container.tell(signal.SIGKILL)

        async def ask() -> None:
            if "startupProbe" in part.spec:
                await self._started(part, container)
            part.begun()
            part.ready = "readinessProbe" not in part.spec
            self._report()
            asked = [("readinessProbe", ready), ("livenessProbe", alive)]
            going = [
                probing.keep_asking(
                    part.spec[name], container, self.ip, turned=turned, complained=self._unwell(name)
                )
                for name, turned in asked
                if name in part.spec
            ]
            await asyncio.gather(*going)

        return [asyncio.create_task(ask())]

    async def _started(self, part: Part, container: Container) -> None:
        """Until the startup probe says yes; a container that takes too long is ended."""
        probe = part.spec["startupProbe"]
        for _ in range(int(probe.get("failureThreshold", 3))):
            good, why = await probing.ask(probe, container, self.ip)
            if good:
                return
            self._unwell("startupProbe")(why)
            await asyncio.sleep(float(probe.get("periodSeconds", 10)))
        self._tell_killing(part, "startup")
        container.tell(signal.SIGKILL)
        await asyncio.Event().wait()

    def _unwell(self, probe: str) -> Callable[[str], None]:
        """Tells of each bad answer to a probe, as the kubelet does it."""
        words = f"{probe.removesuffix('Probe').capitalize()} probe failed"
        return lambda why: self._hand.event(self._value, "Unhealthy", f"{words}: {why}", kind="Warning")

    def _tell_killing(self, part: Part, probe: str) -> None:
        message = f"Container {part.spec['name']} failed {probe} probe, will be restarted"
        self._hand.event(self._value, "Killing", message)

    async def _stop(self) -> None:
        """Tell every container to go, and end what is left when its time is over."""
        self._report()
        live = [part for part in self.parts if part.container is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self._grace, 0.01)):
                await asyncio.gather(*(self._told(part) for part in live if not part.accompanies))
                await self._end_companions(self._grace)
        self.kill()
        for part in live:
            if part.container is not None:
                await part.container.gone()

    async def _end_companions(self, grace: float) -> None:
        """Those that started first end last, each after the one that came after it."""
        for part in reversed([each for each in self.parts if each.accompanies]):
            part.stays = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(grace, 0.01)):
                    await self._told(part)
            if part.container is not None:
                part.container.tell(signal.SIGKILL)

    async def _told(self, part: Part) -> None:
        container = part.container
        if container is None:
            return
        await self._pre_stop(part, container)
        container.tell(signal.SIGTERM)
        await container.gone()

    async def _pre_stop(self, part: Part, container: Container) -> None:
        hook = (part.spec.get("lifecycle") or {}).get("preStop") or {}
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
        elif "exec" in hook:
            await (await container.joined(hook["exec"]["command"])).communicate()
        elif "httpGet" in hook:
            url = f"http://{self.ip}:{hook['httpGet']['port']}{hook['httpGet'].get('path', '/')}"
            with contextlib.suppress(httpx2.HTTPError):
                async with httpx2.AsyncClient(trust_env=False) as client:
                    await client.get(url)

    @property
    def _policy(self) -> str:
        return str(self._value["spec"].get("restartPolicy") or "Always")

    def _end(self, phase: str) -> None:
        self._phase = phase
        self._report()

    def _report(self) -> None:
        """Say in the pod's status what is."""
        hand, name = self._hand, (self._value["metadata"]["namespace"], self._value["metadata"]["name"])
        current = hand.get("Pod", name)
        if current is None or current["metadata"]["uid"] != self._value["metadata"]["uid"]:
            return
        now = hand.cluster.store.now()
        lasting = [part for part in self.parts if not part.prepares]
        prepared = all(part.prepared for part in self.parts if part.initial)
        ready = self._phase == "Running" and all(part.ready for part in lasting)
        status = {"conditions": list(current.get("status", {}).get("conditions", ()))}
        for kind, true in (("Initialized", prepared), ("ContainersReady", ready), ("Ready", ready)):
            status = {"conditions": with_condition(status, {"type": kind, "status": str(true)}, now)}
        shown = {
            **status,
            "phase": self._phase,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "hostIP": "127.0.0.1",
            "startTime": current.get("status", {}).get("startTime") or now,
            "initContainerStatuses": [part.status for part in self.parts if part.initial],
            "containerStatuses": [part.status for part in self.parts if not part.initial],
        }
        hand.status(current, shown)
