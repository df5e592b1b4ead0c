"""Why a pod does not serve, in the words of the catalogue of failures; pure."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.deployment import Failure
from modelyard.domain.failures import CATALOGUE

_MOST_WORDS = 600
_LINE = re.compile(r"(?P<reason>[A-Z][A-Za-z]+): (?P<message>.+)", re.DOTALL)
_NO_IMAGE = {
    "ErrImagePull": False,
    "RegistryUnavailable": False,
    "ImagePullBackOff": True,
    "InvalidImageName": True,
    "ErrImageNeverPull": True,
    "ImageInspectError": True,
    "SignatureValidationFailed": True,
}
"""What the kubelet says of an image, and whether it said so after it had tried again."""
_NOT_STARTED = ("CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun")
_OF_SHELLS = {
    126: ("PermissionDenied", "the program may not be run"),
    127: ("ProgramNotFound", "there is no such program"),
}
"""Exit codes of a shell, and of who starts a container, for a program that they could not start."""
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|cannot find")
_NO_ROOM = re.compile(r"Insufficient |Too many pods|cannot allocate all claims")
_VOLUME = re.compile(r"persistentvolumeclaim|PersistentVolumeClaim|volume node affinity|attach")
_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), (?P<what>.*)")
_POD_SECURITY = re.compile(r"violates PodSecurity .*")
_REFUSED = re.compile(r"admission webhook|ValidatingAdmissionPolicy|denied the request|denied request")
_PREEMPTION = re.compile(r"\.? ?(?:still not schedulable, )?preemption: .*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod is not ready."""

    failure: Failure
    ended: bool
    """Whether it has come to an end, so that only another pod can mend it; else it waits, or tries again."""


def of_pod(pod: Manifest, *, kept: bool = False) -> Trouble | None:
    """What is wrong with a pod; None when nothing is, or nothing that its server could not say better.

    A server that is `kept` is started again where it is once it was well: its pod has not ended with it.
    """
    found = next(_found(pod, kept), None)
    if found is not None and pod.get("status", {}).get("phase") == "Failed":
        return replace(found, ended=True)  # nothing of it is started again
    return found


def is_disrupted(pod: Manifest) -> bool:
    """Whether the cluster took the pod's place away; whoever made it makes another one."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "DisruptionTarget" and each["status"] == "True" for each in conditions)


def of_preemption(pod: Manifest) -> Failure | None:
    """Why a pod that goes gave way to a more important one; None when it goes for another reason."""
    trouble = of_pod(pod)
    return trouble.failure if trouble is not None and trouble.failure.reason == "Preempted" else None


def of_deployment(deployment: Manifest) -> Failure | None:
    """Why pods that a Deployment wants are not even made."""
    said = {each["type"]: each for each in deployment.get("status", {}).get("conditions", ())}
    refused = said.get("ReplicaFailure", {})
    if refused.get("status") == "True":
        return refusal(str(refused.get("message", "")))
    progressing = said.get("Progressing", {})
    if progressing.get("status") == "False" and progressing.get("reason") == "ProgressDeadlineExceeded":
        return _failure("RolloutStalled", str(progressing.get("message", "")))
    return None


def refusal(message: str) -> Failure:
    """Why the cluster does not take an object, from what its API server or a controller says."""
    if quota := _QUOTA.search(message):
        return _failure("QuotaExceeded", f"the quota {quota['quota']} is used up: {quota['what']}")
    if violated := _POD_SECURITY.search(message):
        return _failure("PodSecurity", violated[0])
    if _REFUSED.search(message):
        return _failure("PolicyRefused", message)
    return _failure("StartFailed", f"the cluster does not make the pod: {message}")


def told(events: Sequence[Manifest]) -> Failure | None:
    """What only the events of a pod that does not get on say: mounts, above all; the newest counts."""
    for event in sorted(events, key=_when, reverse=True):
        reason, message = str(event.get("reason", "")), str(event.get("message", ""))
        if reason in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            return _failure("MountFailed", message)
        if reason == "FailedScheduling":
            return unschedulable(message)
        if reason in ("FailedCreatePodSandBox", "NetworkNotReady"):
            return _failure("StartFailed", message)
    return None


def unschedulable(message: str) -> Failure:
    """Why no node takes a pod, from the scheduler's words."""
    short = _PREEMPTION.sub("", message) or "no node takes the pod"
    if _VOLUME.search(short):
        return _failure("MountFailed", short)
    return _failure("InsufficientResources" if _NO_ROOM.search(short) else "NoSuitableNode", short)


def last_end(pod: Manifest) -> Failure | None:
    """Why the kept server of a pod was started again the last time; None when it never was."""
    before = end_of(server(pod))
    return _ended(before, _Part(names.SERVER, kept=True)) if before else None


def server(pod: Manifest) -> Mapping[str, Any]:
    """The status of the container that answers."""
    found = pod.get("status", {}).get("containerStatuses", ())
    return next((each for each in found if each.get("name") == names.SERVER), {})


def end_of(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a container ended the last time; empty when it never did."""
    return said.get("state", {}).get("terminated") or (said.get("lastState") or {}).get("terminated") or {}


def was_well(pod: Manifest) -> bool:
    """Whether a pod was ever ready: it says since when it is as it is, and that is first since it began."""
    status = pod.get("status", {})
    ready = {each["type"]: each for each in status.get("conditions", ())}.get("Ready", {})
    since, begun = str(ready.get("lastTransitionTime") or ""), str(status.get("startTime") or "")
    return ready.get("status") == "True" or (bool(begun) and since > begun)


def _found(pod: Manifest, kept: bool) -> Iterator[Trouble]:
    """Everything that is wrong, what says most first."""
    status = pod.get("status", {})
    yield from _of_the_whole(status)
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    yield from _before_it_runs(conditions)
    yield from _disrupted(conditions, status)
    for each in status.get("initContainerStatuses", ()):
        yield from _of_container(each, _Part(each["name"], prepares=True))
    for each in status.get("containerStatuses", ()):
        mine = kept and each["name"] == names.SERVER
        yield from _of_container(each, _Part(each["name"], kept=mine, stays=mine and was_well(pod)))


def _of_the_whole(status: Mapping[str, Any]) -> Iterator[Trouble]:
    """A pod that its node gave up or never took."""
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if reason == "Evicted":
        full = re.search(r"ephemeral|EmptyDir|emptyDir|disk", message)
        yield Trouble(_failure("DiskFull" if full else "Disrupted", message), ended=True)
    elif reason == "UnexpectedAdmissionError":
        yield Trouble(_failure("GpuAdmission", message), ended=True)
    elif reason.startswith("OutOf") or reason in ("NodeAffinity", "NodePorts"):
        yield Trouble(
            _failure("InsufficientResources", message or f"its node refused it: {reason}"), ended=True
        )
    elif reason == "Preempting":
        yield Trouble(_failure("Preempted", message or "its node needed the room for another"), ended=True)
    elif reason in ("NodeLost", "NodeShutdown", "Terminated", "Shutdown"):
        yield Trouble(_failure("Disrupted", message or f"its node gave it up: {reason}"), ended=True)


def _before_it_runs(conditions: Mapping[str, Mapping[str, Any]]) -> Iterator[Trouble]:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") != "False":
        return
    message = str(scheduled.get("message", ""))
    if scheduled.get("reason") == "SchedulingGated":
        yield Trouble(
            _failure("Queued", message or "the cluster's queue has not admitted it yet"), ended=False
        )
    elif scheduled.get("reason") in ("Unschedulable", "SchedulerError"):
        yield Trouble(unschedulable(message), ended=False)


def _disrupted(conditions: Mapping[str, Mapping[str, Any]], status: Mapping[str, Any]) -> Iterator[Trouble]:
    disruption = conditions.get("DisruptionTarget", {})
    if disruption.get("status") == "True":
        why = str(disruption.get("reason") or "")
        reason = "Preempted" if why == "PreemptionByScheduler" else "Disrupted"
        message = str(disruption.get("message") or why)
        yield Trouble(_failure(reason, message), ended=status.get("phase") == "Failed")


@dataclass(frozen=True, slots=True)
class _Part:
    """Which container of a pod it is about."""

    name: str
    prepares: bool = False
    kept: bool = False
    """Whether it is a server that a keeper has in the embedded mode, and the kubelet here."""
    stays: bool = False
    """Whether it is started again in its pod and nobody makes another one."""

    @property
    def words(self) -> str:
        """For messages."""
        return "the serving process" if self.name == names.SERVER else f"the container {self.name}"

    def ended(self, message: str) -> Failure:
        """A container of this kind ended though it should not."""
        if self.name in (names.FETCH, names.CHECK):
            return _failure("ModelFetchFailed", message)
        if self.prepares:
            return _failure(
                "RuntimeBuildFailed" if self.name == names.ENVIRONMENT else "StartFailed", message
            )
        return _failure("ServerExited" if self.kept else "FrontCrashed", message)


def _of_container(said: Mapping[str, Any], part: _Part) -> Iterator[Trouble]:
    state = said.get("state", {})
    waiting, ended = state.get("waiting") or {}, state.get("terminated")
    before = (said.get("lastState") or {}).get("terminated")
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _NO_IMAGE:
        yield Trouble(
            _failure("ImageError", message or f"{reason}: {said.get('image', '')}"), ended=_NO_IMAGE[reason]
        )
    elif reason == "CreateContainerConfigError":
        yield Trouble(_failure("ConfigError", message), ended=False)
    elif reason in _NOT_STARTED:
        yield Trouble(_not_started(message), ended=True)
    elif ended and _counts(ended, part):
        yield Trouble(_ended(ended, part), ended=not part.prepares and not part.stays)
    elif before and _counts(before, part):
        yield from _again(said, before, part)


def _counts(ended: Mapping[str, Any], part: _Part) -> bool:
    """Whether its end is a failure: what prepares should end well, what serves should not end at all."""
    return not part.prepares or ended.get("exitCode", 0) != 0


def _again(said: Mapping[str, Any], before: Mapping[str, Any], part: _Part) -> Iterator[Trouble]:
    """It ended, and the kubelet has started it again or waits to do so."""
    waits = (said.get("state", {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    if part.prepares:
        if "terminated" not in said.get("state", {}):
            yield Trouble(_ended(before, part), ended=waits)
    elif waits or not said.get("ready"):
        if part.stays and said.get("started"):
            return  # it had begun well again: what it lacks now, its probe says
        # Replaced and counted by the platform's own rules, as in every other backend.
        yield Trouble(_ended(before, part), ended=not part.stays)


def _not_started(message: str) -> Failure:
    if _NO_PROGRAM.search(message):
        return _failure("ProgramNotFound", message)
    return _failure("StartFailed", message)


def _ended(ended: Mapping[str, Any], part: _Part) -> Failure:
    """Why a container ended; its own last words say it best."""
    message, code = str(ended.get("message") or ""), int(ended.get("exitCode", 0))
    reason = str(ended.get("reason", ""))
    if reason == "OOMKilled":
        return _failure("OutOfMemory", f"{part.words} used more memory than it may have and was ended")
    if (own := last_words(message)) is not None:
        return own
    if reason in _NOT_STARTED:
        return _not_started(message)
    if part.kept and code in _OF_SHELLS:
        known, words = _OF_SHELLS[code]
        return _failure(known, _with_last_line(words, message))
    if reason == "ContainerStatusUnknown":
        return _failure("Disrupted", message or "its node does not know any more what became of it")
    number = int(ended.get("signal") or (code - 128 if 128 < code < 192 else 0))
    how = (
        f"was ended by signal {number} ({_signal_name(number)})"
        if number
        else f"ended by itself with exit code {code}"
    )
    if part.kept:
        return part.ended(_with_last_line(f"the server {how}", message))
    said = message.strip().rpartition("\n")[2]
    return part.ended(f"{part.words} {how}" + (f": {said}" if said else "; its log may say why"))


def _with_last_line(words: str, message: str) -> str:
    said = message.strip().rpartition("\n")[2]
    return f"{words}; its last words: {said}" if said else words


def last_words(message: str) -> Failure | None:
    """What a program of ours left in its termination message; None when it is somebody else's text.

    A front leaves JSON, the fetcher one line `Reason: message`.
    """
    if (line := _LINE.match(message)) and line["reason"] in CATALOGUE:
        return _failure(line["reason"], line["message"])
    try:
        said = json.loads(message)
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("reason") not in CATALOGUE:
        return None
    return _failure(said["reason"], str(said.get("message") or ""))


def _failure(reason: str, message: str) -> Failure:
    return Failure(reason=reason, message=" ".join(message.split())[:_MOST_WORDS])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _when(event: Manifest) -> str:
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max((str(each) for each in stamps if each), default="")
