"""What makes a revision, and where a rollback leads."""

from __future__ import annotations

from dataclasses import fields

import pytest

from modelyard.domain.address import Address
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, DeploymentStatus, Failure, Resources
from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.health import Health, Probe
from modelyard.domain.limits import Limits
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.priority import Level, Priority
from modelyard.domain.revisions import STEADY, changed, needs_revision, pin, rollback_target, rolled_back
from modelyard.domain.rollout_status import RolloutStatus
from modelyard.domain.server import Server, ServerKind
from modelyard.domain.strategy import Kind, Strategy
from modelyard.domain.variant import Serve
from tests.domain.make import deployment, revision, spec

OTHER = {
    "model": "churn@2",
    "artifact": "b",
    "runtime": "r",
    "replicas": 5,
    "resources": Resources(cpu="1"),
    "env": {"A": "1"},
    "config_files": {"a": "1"},
    "max_surge": 2,
    "start_timeout_seconds": 5.0,
    "request_timeout_seconds": 5.0,
    "drain_seconds": 5.0,
    "public": True,
    "queue_size": 5,
    "variant": Serve.ORIGINAL,
    "workers": 2,
    "batch": "off",
    "batch_max_rows": 8,
    "batch_max_delay_ms": 5.0,
    "latency_slo_ms": 100.0,
    "cache": "1Mi",
    "retry": False,
    "warmup": "zero",
    "autoscaling": Autoscaling(max=3, on="concurrency:8"),
    "priority": Priority(level=Level.HIGH),
    "limits": Limits(concurrency=4),
    "address": Address(host="churn.example.com", own_port=True),
    "strategy": Strategy(kind=Kind.CANARY),
    "config": "---a\n1\n",
    "server": Server(kind=ServerKind.VLLM),
    "health": Health(readiness=Probe(http="/ready")),
    "mounts": (Mount(kind=MountKind.MEMORY, path="/cache"),),
    "metrics": "9000:/metrics",
    "model_files": "pvc://models/churn",
}


@pytest.mark.parametrize("name", [f.name for f in fields(DeploymentSpec)])
def test_only_what_a_replica_runs_with_makes_a_revision(name: str) -> None:
    assert needs_revision(spec(), spec(**{name: OTHER[name]})) is (name not in STEADY)


def test_amounts_written_another_way_make_no_revision() -> None:
    half, same = (
        spec(resources=Resources(cpu=cpu, memory=size)) for cpu, size in (("0.5", "1Gi"), ("500m", "1024Mi"))
    )
    assert not needs_revision(half, same)
    assert changed(half, same) == ""


def test_a_spec_is_pinned_to_a_version_and_a_runtime() -> None:
    pinned = pin(spec(model="churn@champion", replicas=3), version="7", runtime="host")
    assert (pinned.model, pinned.runtime, pinned.replicas) == ("churn@7", "host", 3)


def test_a_rollback_goes_to_the_newest_revision_before() -> None:
    known = [revision(n) for n in (3, 1, 2)]
    assert rollback_target(deployment(revision=3), known, None).number == 2
    assert rollback_target(deployment(revision=3), known, 1).number == 1


def test_a_rollback_from_a_failed_revision_goes_to_the_one_that_serves() -> None:
    status = DeploymentStatus(good_revision=1, failed_revision=3, failed=Failure(reason="StartFailed"))
    known = [revision(n) for n in (1, 2, 3)]
    assert rollback_target(deployment(revision=3, status=status), known, None).number == 1


def test_a_rollback_never_goes_to_a_revision_that_was_taken_back() -> None:
    known = [revision(n) for n in (1, 2, 3)]  # 2 was aborted
    unproven = DeploymentStatus(good_revision=1)
    assert rollback_target(deployment(revision=3, status=unproven), known, None).number == 1
    proven = DeploymentStatus(good_revision=3, rollout=RolloutStatus(base=1, revision=3))
    assert rollback_target(deployment(revision=3, status=proven), known, None).number == 1


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [(9, NotFound, "no revision 9; there are 2, 1"), (2, Conflict, "is at revision 2")],
)
def test_a_rollback_to_nowhere_says_where_to(number: int, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        rollback_target(deployment(revision=2), [revision(1), revision(2)], number)


def test_the_first_revision_has_nothing_to_go_back_to() -> None:
    with pytest.raises(Conflict, match="no earlier revision"):
        rollback_target(deployment(revision=1), [revision(1)], None)


def test_a_rollback_keeps_todays_size() -> None:
    back = rolled_back(
        deployment(revision=2, replicas=4, public=True), revision(1, model="churn@1", env={"A": "1"})
    )
    assert (back.replicas, back.public, back.env) == (4, True, {"A": "1"})


def test_changes_are_told_without_secrets() -> None:
    before = spec(model="churn@1", env={"A": "s3cret", "B": "x", "C": "1"}, resources=Resources(cpu="1"))
    after = spec(
        model="churn@2", env={"A": "other", "C": "1", "D": "y"}, replicas=3, public=True, artifact="a"
    )
    text = changed(before, after)
    assert text == (
        "model churn@1 → churn@2, artifact none → a, replicas 1 → 3, cpu 1 → 0, "
        "env.A changed, env.B removed, env.D added, public false → true"
    )
