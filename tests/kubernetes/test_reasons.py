"""Every way in which a pod does not get on is told in the catalogue's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.backends.kubernetes import names, probed, reasons
from modelyard.domain.failures import CATALOGUE

NO_ROOM = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient nvidia.com/gpu. "
    "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
)


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """A container that does not run."""
    return {"state": {"waiting": {"reason": reason, "message": message}}, "restartCount": 0, **more}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    """How a container ended."""
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def pod(name: str = names.SERVER, *, init: bool = False, **said: Any) -> dict[str, Any]:
    """A pod with one container that says this."""
    where = "initContainerStatuses" if init else "containerStatuses"
    return {"status": {"phase": "Pending", where: [{"name": name, "ready": False, "image": "i:1", **said}]}}


def condition(name: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    """A pod, or a Deployment, that says this of itself."""
    said = {"type": name, "status": status, "reason": reason, "message": message}
    return {"status": {"phase": "Pending", "conditions": [said]}}


OOM = ended(137, "OOMKilled")
MISSING = json.dumps({"reason": "MissingPackage", "message": "No module named 'xgboost'"})
UNSCHEDULABLE = condition("PodScheduled", "False", "Unschedulable", NO_ROOM)

CASES: list[tuple[dict[str, Any], str, bool]] = [
    (UNSCHEDULABLE, "InsufficientResources", False),
    (condition("PodScheduled", "False", "Unschedulable", "no nodes available"), "NoSuitableNode", False),
    (
        condition("PodScheduled", "False", "Unschedulable", 'persistentvolumeclaim "models" not found'),
        "MountFailed",
        False,
    ),
    (condition("PodScheduled", "False", "SchedulingGated"), "Queued", False),
    (condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempted"), "Preempted", False),
    (condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "drained"), "Disrupted", False),
    (
        {"status": {"phase": "Failed", "reason": "Preempting", "message": "for a critical pod"}},
        "Preempted",
        True,
    ),
    (pod(**waiting("ErrImagePull", "not found")), "ImageError", False),
    (pod(**waiting("ImagePullBackOff")), "ImageError", True),
    (pod(**waiting("InvalidImageName")), "ImageError", True),
    (pod(names.FETCH, init=True, **waiting("ImagePullBackOff")), "ImageError", True),
    (pod(**waiting("CreateContainerConfigError", 'secret "x" not found')), "ConfigError", False),
    (pod(**waiting("CreateContainerError", "exec: executable file not found")), "ProgramNotFound", True),
    (pod(**waiting("RunContainerError", "oci")), "StartFailed", True),
    (pod(state=ended(128, "StartError", "no such file or directory")), "ProgramNotFound", True),
    (pod(names.FETCH, init=True, state=ended(1, message="no route to host")), "ModelFetchFailed", False),
    (
        pod(names.FETCH, init=True, **waiting("CrashLoopBackOff", lastState=ended(1))),
        "ModelFetchFailed",
        True,
    ),
    (pod(names.ENVIRONMENT, init=True, state=ended(1)), "RuntimeBuildFailed", False),
    (pod("own-init", init=True, state=ended(3)), "StartFailed", False),
    (pod(state=OOM), "OutOfMemory", True),
    (pod(**waiting("CrashLoopBackOff", lastState=OOM)), "OutOfMemory", True),
    (pod(state={"running": {}}, lastState=ended(1)), "FrontCrashed", True),
    (pod(state=ended(0, "Completed")), "FrontCrashed", True),
    (pod(state=ended(1, message=MISSING)), "MissingPackage", True),
    (pod(state=ended(137, "ContainerStatusUnknown")), "Disrupted", True),
    ({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}, "Disrupted", True),
    (
        {"status": {"phase": "Failed", "reason": "Evicted", "message": "Usage of EmptyDir volume exceeds"}},
        "DiskFull",
        True,
    ),
    ({"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError"}}, "GpuAdmission", True),
    ({"status": {"phase": "Failed", "reason": "OutOfcpu"}}, "InsufficientResources", True),
    ({"status": {"phase": "Failed", "reason": "NodeLost"}}, "Disrupted", True),
]


@pytest.mark.parametrize(("value", "reason", "over"), CASES)
def test_a_pod_that_does_not_get_on_says_why(value: dict[str, Any], reason: str, over: bool) -> None:
    trouble = reasons.of_pod(value)
    assert trouble is not None
    assert (trouble.failure.reason, trouble.ended) == (reason, over)
    assert trouble.failure.reason in CATALOGUE


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"status": {"phase": "Running"}},
        pod(**waiting("ContainerCreating")),
        pod(**waiting("PodInitializing")),
        pod(names.FETCH, init=True, state=ended(0, "Completed")),
        pod(names.FETCH, init=True, state=ended(0), lastState=ended(1)),
        pod(state={"running": {}}, lastState=ended(1), ready=True),
        condition("PodScheduled", "True"),
    ],
)
def test_a_pod_that_gets_on_has_no_trouble(value: dict[str, Any]) -> None:
    assert reasons.of_pod(value) is None


def test_the_schedulers_words_are_kept_without_those_on_preemption() -> None:
    trouble = reasons.of_pod(UNSCHEDULABLE)
    assert trouble is not None
    assert "2 Insufficient nvidia.com/gpu" in trouble.failure.message
    assert "preemption" not in trouble.failure.message


def test_a_signal_has_its_name() -> None:
    trouble = reasons.of_pod(pod(state=ended(139)))
    assert trouble is not None
    assert "SIGSEGV" in trouble.failure.message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'pods "a" is forbidden: exceeded quota: project, requested: cpu=2, used: cpu=9, limited: cpu=10',
            "QuotaExceeded",
        ),
        (
            'pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "PodSecurity",
        ),
        ('admission webhook "images.example.org" denied the request: not signed', "PolicyRefused"),
        ("something else", "StartFailed"),
    ],
)
def test_pods_that_are_not_even_made_say_why(message: str, reason: str) -> None:
    failure = reasons.of_deployment(condition("ReplicaFailure", "True", "FailedCreate", message))
    assert failure is not None
    assert failure.reason == reason


def test_a_deployment_that_gets_no_further_says_so() -> None:
    stalled = condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")
    failure = reasons.of_deployment(stalled)
    assert failure is not None
    assert failure.reason == "RolloutStalled"
    assert reasons.of_deployment(condition("Progressing", "True", "NewReplicaSetAvailable")) is None


def test_events_tell_what_the_status_does_not() -> None:
    old = {"reason": "FailedScheduling", "message": NO_ROOM, "lastTimestamp": "2026-01-01T00:00:00Z"}
    new = {"reason": "FailedMount", "message": "no such share", "eventTime": "2026-01-02T00:00:00Z"}
    failure = reasons.told([new, old])
    assert failure is not None
    assert failure.reason == "MountFailed"
    assert reasons.told([]) is None
    assert reasons.told([{"reason": "Pulled"}]) is None


BEGAN, ENDED = "2026-01-01T00:00:10Z", "2026-01-01T00:01:00Z"


def kept(*, well: bool, ready: bool = False, **said: Any) -> dict[str, Any]:
    """A pod whose server is kept; `well` is whether it was ready before it was as it is now."""
    since = ENDED if well or ready else "2026-01-01T00:00:00Z"
    ready_since = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    status = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [ready_since]}
    server = {"name": names.SERVER, "ready": ready, "image": "i:1", "restartCount": 1, **said}
    probe = {"readinessProbe": {"httpGet": {"path": "/ok", "port": 80}}}
    probe["livenessProbe"] = {"httpGet": {"path": "/alive", "port": 80}}
    spec = {"containers": [{"name": names.SERVER, **probe}]}
    return {"spec": spec, "status": {**status, "containerStatuses": [server]}}


def died(code: int, message: str = "") -> dict[str, Any]:
    """How a server ended that ran for a while."""
    found = ended(code, message=message)
    return {"terminated": {**found["terminated"], "startedAt": BEGAN, "finishedAt": ENDED}}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1, "ServerExited"), (0, "ServerExited"), (137, "ServerExited"), (126, "PermissionDenied"),
     (127, "ProgramNotFound")],
)  # fmt: skip
@pytest.mark.parametrize("well", [True, False])
def test_a_kept_server_that_ends_has_ended_for_good_only_when_it_was_never_well(
    code: int, reason: str, well: bool
) -> None:
    for told in (
        {"state": died(code)},
        waiting("CrashLoopBackOff", lastState=died(code)),
        {"state": {"running": {}}, "lastState": died(code), "started": False},
    ):
        given = {name: value for name, value in told.items() if name != "restartCount"}
        trouble = reasons.of_pod(kept(well=well, **given), kept=True)
        assert trouble is not None
        assert (trouble.failure.reason, trouble.ended) == (reason, not well)


def test_a_kept_server_that_began_well_again_is_not_judged_by_its_last_end() -> None:
    value = kept(well=True, state={"running": {}}, lastState=died(1), started=True)
    assert reasons.of_pod(value, kept=True) is None
    assert reasons.of_pod(value) is not None, "of Modelyard's own another pod is made"
    last = reasons.last_end(kept(well=True, ready=True, state={"running": {}}, lastState=died(3, "bad luck")))
    assert last is not None
    assert last.reason == "ServerExited"
    assert last.message == "the server ended by itself with exit code 3; its last words: bad luck"


def said(reason: str, message: str, second: int) -> dict[str, Any]:
    """An event of that minute."""
    return {"reason": reason, "message": message, "lastTimestamp": f"2026-01-01T00:00:{second:02}Z"}


LIVENESS = "Liveness probe failed: HTTP probe failed with statuscode: 503"
KILLED = "Container server failed liveness probe, will be restarted"


def test_a_server_that_the_kubelet_ended_did_not_live() -> None:
    for state in ({"state": died(137)}, {"state": {"running": {}}, "lastState": died(143), "started": False}):
        value = kept(well=True, **state)
        failure = probed.told([said("Unhealthy", LIVENESS, 50), said("Killing", KILLED, 51)], value)
        assert failure is not None
        assert failure.reason == "LivenessFailed"
        assert failure.message == "the liveness probe failed: /alive answered 503"
        assert probed.told([said("Killing", KILLED, 9)], value) is None, "that was the one before"
        assert probed.told([said("Unhealthy", LIVENESS, 50)], value) is None, "it ended by itself meanwhile"
        assert probed.told([said("Killing", "Stopping container server", 51)], value) is None


def test_a_server_that_takes_too_long_to_start_was_not_ready_in_time() -> None:
    value = kept(well=False, state=died(137))
    words = 'Startup probe failed: Get "http://10.0.0.1:80/ok": connect: connection refused'
    killed = "Container server failed startup probe, will be restarted"
    failure = probed.told([said("Unhealthy", words, 49), said("Killing", killed, 50)], value)
    assert failure is not None
    assert failure.reason == "ReadinessFailed"
    assert "connection refused" in failure.message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("Readiness probe failed: HTTP probe failed with statuscode: 500", "/ok answered 500"),
        ("Readiness probe failed: out of disk", "out of disk"),
        ("Readiness probe errored and resulted in unknown state: no such file", "no such file"),
    ],
)
def test_a_server_that_is_not_ready_says_what_its_probe_finds(words: str, told: str) -> None:
    value = kept(well=True, state={"running": {"startedAt": BEGAN}}, started=True)
    events = [said("Unhealthy", "Readiness probe failed: old", 20), said("Unhealthy", words, 30)]
    failure = probed.told(events, value)
    assert failure is not None
    assert (failure.reason, failure.message) == ("ReadinessFailed", f"the readiness probe fails: {told}")
    assert probed.told([said("Unhealthy", words, 9)], value) is None, "that was before it ran"
    assert probed.told([said("Pulled", words, 30)], value) is None
