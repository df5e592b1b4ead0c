"""When waiting for a deployment ends, and with what words."""

from __future__ import annotations

import json

from modelyard.domain.errors import ModelyardError, Refused, TimedOut
from modelyard.domain.explain import Explanation
from modelyard.domain.rollout_status import Stand
from modelyard.domain.views import DeploymentView, State

INTERVAL_SECONDS = 0.1
LONGEST_SECONDS = 5.0


def is_settled(view: DeploymentView) -> bool:
    """Everything that was asked for runs, and nothing else does."""
    status = view.status
    if status.observed_generation < view.generation:
        return False
    if view.state in (State.OFFLINE, State.ASLEEP):
        return not status.replicas
    keeping = status.rollout is not None and status.rollout.stand is Stand.KEEPING
    return view.state is State.RUNNING and (keeping or status.ready_replicas <= view.wanted_replicas)


def is_failed(view: DeploymentView) -> bool:
    """It will not come up by waiting: it failed, or fell back to an earlier revision."""
    observed = view.status.observed_generation >= view.generation
    return observed and (view.state is State.FAILED or view.status.failed_revision == view.revision)


def ended(view: DeploymentView, explanation: Explanation, timeout_seconds: float) -> ModelyardError:
    """The error for a wait that did not end well."""
    said = (
        f"{each.reason}: " + ". ".join(filter(None, (each.message, each.remedy)))
        for each in explanation.findings
    )
    causes = "; ".join(said)
    text = f"{view.service}: {causes}" if causes else explanation.summary
    if is_failed(view):
        return Refused(text)
    return TimedOut(f"not ready after {timeout_seconds:g} s: {text}")


def still_there(name: str, timeout_seconds: float) -> TimedOut:
    """The error for a deletion that takes too long."""
    return TimedOut(
        f"{name} is still being deleted after {timeout_seconds:g} s; `modelyard explain {name}` says why"
    )


def log_line(line: str) -> tuple[str, str] | None:
    """Replica and text of one line of a log stream; None for what is not a log line."""
    text = line.removeprefix("data:").strip()
    if not text or text.startswith((":", "event:", "id:")):
        return None
    document = json.loads(text)
    return str(document["replica"]), str(document["text"])
