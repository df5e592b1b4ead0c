"""Deployments as the API shows them: with addresses, a state in one word, a sentence."""

from __future__ import annotations

from modelyard.control.platform import Platform
from modelyard.domain import conditions, rollout, views
from modelyard.domain.deployment import Deployment
from modelyard.domain.views import DeploymentView, State
from modelyard.gateway.reach import reach


def view(platform: Platform, deployment: Deployment, *, token: str = "") -> DeploymentView:
    """One deployment as an answer; `token` only where the caller may have it."""
    site = platform.sites.of(deployment.project)
    addresses = reach(
        deployment.key, deployment.spec.address, deployment.ports, site=site, door=platform.outside
    )
    state = State(conditions.state(deployment).value)
    return views.view(
        deployment,
        state=state,
        message=_sentence(deployment, state),
        url=f"{platform.public_url}{addresses.path}",
        addresses=addresses,
        token=token,
    )


def _sentence(deployment: Deployment, state: State) -> str:
    """What it waits for or why it failed; how many are ready when nothing is wrong."""
    status = deployment.status
    if state is State.DELETING:
        return f"{len(status.replicas)} replicas are left"
    if deployment.claim.yielded_to:
        return f"offline: {deployment.claim.yielded_to} has taken its host over"
    if state is State.OFFLINE:
        return "no replicas are wanted"
    if status.observed_generation == 0:
        return "accepted"
    if state is State.ASLEEP:
        return "asleep; a request wakes it"
    ready = f"{status.ready_replicas} of {rollout.wanted_replicas(deployment)} replicas are ready"
    return conditions.headline(deployment) or ready
