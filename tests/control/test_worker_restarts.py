"""A worker that died is remembered though its replica soon answers again."""

from dataclasses import replace

import pytest

from modelyard.control.deployments import WORKER_RESTARTED
from modelyard.control.reconcilers import transitions
from modelyard.domain.deployment import Failure, Phase, Replica
from tests.domain.make import deployment

OUT_OF_MEMORY = Failure(reason="OutOfMemory", message="used 400 MiB of the 300 MiB it may have")


def said(before: Replica, after: Replica) -> list[tuple[str, str]]:
    known = deployment()
    old, new = (replace(known, status=replace(known.status, replicas=(r,))) for r in (before, after))
    return [*transitions.events(old, new, ())]


@pytest.mark.parametrize("phase", [Phase.READY, Phase.UNREADY])
def test_a_worker_that_died_is_an_event_once(phase: Phase) -> None:
    sound = Replica(name="a", revision=1, phase=Phase.READY)
    hurt = replace(sound, phase=phase, worker_restarts=1, failure=OUT_OF_MEMORY)
    assert said(sound, hurt) == [(WORKER_RESTARTED, f"OutOfMemory: {OUT_OF_MEMORY.message} (a)")]
    assert said(hurt, replace(hurt, phase=Phase.READY)) == []
