"""Every failure has a name, a cause and a remedy, and they are found in order."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest

from modelyard.domain.autoscaling import Autoscaling, ScalingStatus
from modelyard.domain.conditions import Facts, next_status, state
from modelyard.domain.deployment import Crashes, Deployment, DeploymentStatus, Failure, Phase, Replica
from modelyard.domain.explain import CATALOGUE, Explanation, Stage, explain, remedy
from modelyard.domain.placement import Unfit
from modelyard.domain.priority import Priority
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.domain.views import State
from tests.domain.make import NOW, deployment, replica, revision

BUILT = RuntimeStatus(state=RuntimeState.READY)
REASONS = [
    "GateFailed",
    "RolloutAborted",
    "ModelLoadFailed",
    "MissingPackage",
    "VersionMismatch",
    "ArtifactCorrupt",
    "LoadTimeout",
    "OutOfMemory",
    "PortInUse",
    "SecretUnavailable",
    "CapacityShort",
    "WorkerCrashed",
    "WorkerHung",
    "SignatureMismatch",
    "UserCodeFailed",
    "InsufficientResources",
    "RuntimeBuildFailed",
    "IndexUnreachable",
    "RuntimeMissing",
    "InterpreterMissing",
    "FrontCrashed",
    "FrontUnresponsive",
    "StartFailed",
    "GatewayUnavailable",
    "RouteRefused",
    "GatewayPortInUse",
    "OwnPortInUse",
    "HostKept",
    "CapacityShort",
    "NoReplicaReached",
    "RequestsTurnedAway",
    "RequestsTimedOut",
    "RequestsFailed",
    "RequestsAbandoned",
    "RequestsUnauthorised",
    "RequestsLimited",
    "DiskFull",
    "PermissionDenied",
    "UnsafeContent",
    "ModelMissing",
    "PredictionFailed",
    "ProgramNotFound",
    "ImageNotRunnable",
    "MountFailed",
    "ServerExited",
    "ReadinessFailed",
    "LivenessFailed",
    "NoSuitableNode",
    "Queued",
    "QuotaExceeded",
    "PodSecurity",
    "PolicyRefused",
    "GpuAdmission",
    "ImageError",
    "ConfigError",
    "ModelFetchFailed",
    "Disrupted",
    "Preempted",
    "RolloutStalled",
    "BackendUnreachable",
]
WORDS = {"service": "churn", "project": "p", "model": "churn@1", "runtime": "r", "memory": "1Gi"}


def recorded(
    wanted: Deployment, *observed: Replica, unfit: str = "", runtime: RuntimeStatus = BUILT
) -> Deployment:
    facts = Facts(
        runtime=runtime,
        unfit=Unfit(message=unfit) if unfit else None,
        routed=frozenset(r.name for r in observed),
    )
    return replace(wanted, status=next_status(wanted, observed, facts, now=NOW))


def told(
    wanted: Deployment,
    *,
    runtime: RuntimeStatus | None = BUILT,
    gateway: Failure | None = None,
    last: Failure | None = None,
) -> Explanation:
    return explain(wanted, revision(1, runtime="r"), runtime=runtime, gateway=gateway, last=last)


def test_the_catalogue_knows_every_reason() -> None:
    assert set(CATALOGUE) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_cause_and_a_remedy_in_whole_sentences(reason: str) -> None:
    entry = CATALOGUE[reason]
    assert entry.title
    assert entry.cause.endswith(".")
    filled = remedy(reason, WORDS)
    assert filled.endswith(".")
    assert not [name for _, name, _, _ in string.Formatter().parse(filled) if name]


def test_a_healthy_deployment_says_so() -> None:
    fine = told(recorded(deployment(), replica()))
    assert fine.healthy
    assert fine.findings == ()
    assert fine.summary == "churn is healthy: 1 of 1 replicas ready, revision 1 (churn@1)"


def test_offline_and_leaving_deployments_say_so() -> None:
    offline = told(recorded(deployment(replicas=0)), runtime=None)
    assert offline.summary.startswith("churn is offline: ")
    assert "modelyard scale churn --replicas 1" in offline.summary
    leaving = told(recorded(replace(deployment(), deleting=True)))
    assert leaving.summary == "churn is being removed"
    assert not offline.healthy
    assert not leaving.healthy


def test_who_has_no_replica_for_want_of_room_is_neither_offline_nor_asleep() -> None:
    for scaled in (Autoscaling(min=0, max=3, on="concurrency:8"), Autoscaling()):
        short = DeploymentStatus(scaling=ScalingStatus(granted=0), good_revision=1, observed_generation=1)
        starving = deployment(status=short, autoscaling=scaled, priority=Priority(guaranteed=0))
        status = next_status(starving, (), Facts(runtime=BUILT), now=NOW)
        starving = replace(starving, status=status)
        assert state(starving) is State.PENDING
        assert next(c.reason for c in status.conditions if c.type == "Ready") == "CapacityShort"
        said = explain(starving, revision(1), runtime=BUILT, gateway=None)
        assert not said.healthy
        assert "0 of 1 replicas: there is no room" in said.summary


def test_one_that_only_loads_is_starting() -> None:
    loading = told(recorded(deployment(), replica(phase=Phase.STARTING)))
    assert loading.summary.startswith("churn is starting: 0 of 1")
    assert not loading.healthy


def test_findings_come_in_the_order_of_the_way_to_an_answer() -> None:
    broken = RuntimeStatus(state=RuntimeState.FAILED, reason="IndexUnreachable", message="pypi is away")
    crashed = DeploymentStatus(crashes=Crashes(revision=1, count=2, failure=Failure(reason="OutOfMemory")))
    wanted = recorded(deployment(status=crashed), unfit="insufficient cpu: needs 2, free 1", runtime=broken)
    found = told(wanted, runtime=broken, gateway=Failure(reason="GatewayPortInUse", message="8080 is taken"))
    assert [(f.stage, f.reason) for f in found.findings] == [
        (Stage.RUNTIME, "IndexUnreachable"),
        (Stage.SCHEDULE, "InsufficientResources"),
        (Stage.READY, "OutOfMemory"),
        (Stage.ROUTE, "GatewayPortInUse"),
    ]
    assert found.summary.startswith("churn: pypi is away")
    assert found.findings[2].message.startswith("failed 2 times: ")
    assert all(f.remedy for f in found.findings)


def test_a_runtime_that_does_not_exist_is_named() -> None:
    (finding,) = told(recorded(deployment()), runtime=None).findings
    assert (finding.reason, finding.message) == ("RuntimeMissing", "the runtime r does not exist")
    assert "modelyard runtime create r" in finding.remedy


def test_a_runtime_that_is_being_built_needs_only_patience() -> None:
    (finding,) = told(recorded(deployment()), runtime=RuntimeStatus(state=RuntimeState.BUILDING)).findings
    assert (finding.stage, finding.remedy) == (Stage.RUNTIME, "")


def test_a_fall_back_names_the_revision_that_failed_and_the_one_that_serves() -> None:
    why = Failure(reason="MissingPackage", message="no module named lightgbm")
    status = DeploymentStatus(good_revision=1, failed_revision=2, failed=why)
    found = told(recorded(deployment(revision=2, status=status), replica()))
    assert not found.healthy
    (finding,) = found.findings
    assert finding.message == "revision 2 failed, revision 1 serves instead: no module named lightgbm"
    assert (finding.stage, finding.reason) == (Stage.LOAD, "MissingPackage")


def test_a_replica_that_is_not_ready_any_more_says_why() -> None:
    hung = replica(
        "b", phase=Phase.UNREADY, failure=Failure(reason="WorkerHung", message="no answer for 30 s")
    )
    (finding,) = told(recorded(deployment(replicas=2), replica("a"), hung)).findings
    assert (finding.reason, finding.message) == ("WorkerHung", "replica b: no answer for 30 s")


def test_the_last_failure_is_told_only_while_something_is_amiss() -> None:
    last = Failure(reason="PortInUse", message="/run/x is taken")
    assert told(recorded(deployment(), replica()), last=last).healthy
    assert [f.reason for f in told(recorded(deployment()), last=last).findings] == ["PortInUse"]


def test_a_reason_that_nobody_knows_is_told_as_it_is() -> None:
    (finding,) = told(recorded(deployment()), last=Failure(reason="Odd", message="{x} happened")).findings
    assert (finding.reason, finding.message, finding.remedy) == ("Odd", "{x} happened", "")


def test_a_sound_service_whose_worker_died_a_short_while_ago_says_why() -> None:
    sound = recorded(deployment(), replica("a"))
    found = explain(
        sound,
        revision(1, runtime="r"),
        runtime=BUILT,
        gateway=None,
        lately=Failure(reason="OutOfMemory", message="it used 400 MiB"),
    )
    assert found.healthy
    (finding,) = found.findings
    assert finding.message == "a short while ago, and started again since: it used 400 MiB"
    assert "--memory" in finding.remedy


def test_a_compiled_variant_that_answers_is_named() -> None:
    compiled = replace(replica("a"), variant="onnx", inline=True)
    assert "answering with onnx, inline" in told(recorded(deployment(), compiled)).summary
    assert "answering" not in told(recorded(deployment(), replace(replica("a"), variant="original"))).summary
