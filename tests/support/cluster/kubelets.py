"""A kubelet that plays a script instead of running anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.cluster import nodes
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving, with_condition

IMAGE_PULL = "ImagePullBackOff"
CRASH = "CrashLoopBackOff"
OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of a pod, in seconds since it was bound or since the stage before."""

    starts_after: float = 1.0
    ready_after: float = 2.0
    ends_after: float | None = None
    """When its containers exit by themselves; None is never."""
    exit_code: int = 0
    fails: str = ""
    """One of the reasons above: it never becomes ready."""
    stops_after: float = 1.0
    """How long it takes to end once it was told to."""


@dataclass(slots=True)
class Scripted:
    """Plays `script(pod)` for every pod that has a node."""

    hand: Hand
    script: Callable[[Object], Part] = field(default=lambda pod: Part())
    _bound: dict[str, float] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)

    def step(self, pod: Object) -> None:
        """Bring one pod to where its script has it now."""
        uid, now = pod["metadata"]["uid"], self.hand.cluster.store.clock()
        if not pod["spec"].get("nodeName") or nodes.is_off(self.hand, pod):
            return
        age = now - self._bound.setdefault(uid, now)
        part = self.script(pod)
        if is_leaving(pod):
            if now - self._told.setdefault(uid, now) >= part.stops_after:
                name = (pod["metadata"]["namespace"], pod["metadata"]["name"])
                self.hand.cluster.garbage.finished(self.hand.cluster.kind("Pod"), name)
            return
        status = self._status(pod, part, age)
        old = pod.get("status", {})
        if any(old.get(key) != value for key, value in status.items()):
            self.hand.status(pod, status)

    def _status(self, pod: Object, part: Part, age: float) -> Object:
        if age < part.starts_after:
            return self._shown(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
        if part.fails == IMAGE_PULL:
            return self._shown(pod, "Pending", {"waiting": {"reason": IMAGE_PULL}})
        if part.fails:
            last = {"exitCode": 137 if part.fails == OUT_OF_MEMORY else 1, "reason": part.fails}
            return self._shown(pod, "Running", {"waiting": {"reason": CRASH}}, last={"terminated": last})
        if part.ends_after is not None and age >= part.ends_after:
            phase = "Failed" if part.exit_code else "Succeeded"
            reason = "Error" if part.exit_code else "Completed"
            return self._shown(pod, phase, {"terminated": {"exitCode": part.exit_code, "reason": reason}})
        started = {"running": {"startedAt": self.hand.cluster.store.now()}}
        old = next(iter(pod.get("status", {}).get("containerStatuses", ())), {})
        running = old["state"] if "running" in old.get("state", {}) else started
        return self._shown(pod, "Running", running, ready=age >= part.ready_after)

    def _shown(
        self, pod: Object, phase: str, state: Object, *, ready: bool = False, last: Object | None = None
    ) -> Object:
        now = self.hand.cluster.store.now()
        new = {"type": "Ready", "status": str(ready)}
        shown: Object = {
            "phase": phase,
            "podIP": self._address(pod),
            "hostIP": "127.0.0.1",
            "conditions": with_condition(pod.get("status", {}), new, now),
            "containerStatuses": [
                {
                    "name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "state": state,
                    "restartCount": 3 if last else 0, **({"lastState": last} if last else {}),
                }
                for c in pod["spec"]["containers"]
            ],
        }  # fmt: skip
        return shown

    def _address(self, pod: Object) -> str:
        number = len(self._addresses) + 1
        return self._addresses.setdefault(pod["metadata"]["uid"], f"127.1.{number // 250}.{number % 250 + 1}")
