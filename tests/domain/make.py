"""Short ways to make domain values in tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from modelyard.domain.deployment import Deployment, DeploymentSpec, DeploymentStatus, Phase, Replica, Revision
from modelyard.domain.placement import Placement

THEN = datetime(2026, 11, 22, tzinfo=UTC)
NOW = 1_800_000_000.0
PLACE = Placement(node="here")
ROOM = {number: (PLACE,) * 50 for number in range(1, 60)}


def spec(**changes: Any) -> DeploymentSpec:
    return replace(DeploymentSpec(model="churn@1"), **changes)


def deployment(*, revision: int = 1, status: DeploymentStatus | None = None, **changes: Any) -> Deployment:
    return Deployment(
        project="default",
        name="churn",
        id=7,
        revision=revision,
        generation=revision,
        spec=spec(**changes),
        status=status or DeploymentStatus(),
        created_at=THEN,
    )


def replica(
    name: str = "churn-7-1-0", *, phase: Phase = Phase.READY, revision: int = 1, **changes: Any
) -> Replica:
    return Replica(name=name, phase=phase, revision=revision, **{"started_at": NOW - 60, **changes})


def revision(number: int, **changes: Any) -> Revision:
    return Revision(
        project="default",
        name="churn",
        stage=deployment().stage,
        number=number,
        spec=spec(**changes),
        reason="deploy",
        created_at=THEN,
        created_by="ada",
    )
