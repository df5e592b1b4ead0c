"""What may go from one stage to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain import stages
from modelyard.domain.autoscaling import ScalingStatus
from modelyard.domain.deployment import DeploymentStatus, Stage
from modelyard.domain.errors import Conflict
from modelyard.domain.priority import Priority
from tests.domain.make import deployment


@pytest.mark.parametrize(
    ("granted", "ready", "proven"), [(-1, 2, True), (-1, 1, False), (1, 1, True), (0, 0, False)]
)
def test_proven_is_what_is_ready_as_often_as_there_is_room_for(
    granted: int, ready: int, proven: bool
) -> None:
    status = DeploymentStatus(
        good_revision=1,
        observed_generation=1,
        ready_replicas=ready,
        scaling=ScalingStatus(granted=granted),
    )
    tested = replace(deployment(status=status, replicas=2, priority=Priority(guaranteed=0)), stage=Stage.TEST)
    if proven:
        stages.require_proven(tested)
    else:
        with pytest.raises(Conflict, match="is not ready"):
            stages.require_proven(tested)
