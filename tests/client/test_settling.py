"""When waiting for a change of a service is over."""

from dataclasses import replace

import pytest

from modelyard.client import waiting
from modelyard.domain import views
from modelyard.domain.deployment import DeploymentStatus, Phase, Replica
from modelyard.domain.endpoint import Addresses
from modelyard.domain.views import DeploymentView, State
from tests.domain.make import deployment


def seen(state: State, *, wanted: int, ready: int, generation: int = 1) -> DeploymentView:
    replicas = tuple(Replica(name=f"r{n}", revision=1, phase=Phase.READY) for n in range(ready))
    status = DeploymentStatus(observed_generation=generation, replicas=replicas, ready_replicas=ready)
    known = replace(deployment(replicas=wanted), status=status)
    addresses = Addresses(host="", path="", alias="")
    return views.view(known, state=state, message="", url="", addresses=addresses)


@pytest.mark.parametrize(
    ("view", "settled"),
    [
        (seen(State.RUNNING, wanted=2, ready=2), True),
        (seen(State.RUNNING, wanted=1, ready=3), False),
        (seen(State.OFFLINE, wanted=0, ready=1), False),
        (seen(State.OFFLINE, wanted=0, ready=0), True),
        (seen(State.RUNNING, wanted=2, ready=2, generation=0), False),
        (seen(State.STARTING, wanted=2, ready=1), False),
    ],
)
def test_a_change_is_done_when_as_many_replicas_serve_as_were_asked_for(
    view: DeploymentView, settled: bool
) -> None:
    assert waiting.is_settled(view) is settled
