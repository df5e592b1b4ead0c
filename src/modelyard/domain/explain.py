"""Why a service does not answer, in words that name the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import rollout, scaling, variant, wire
from modelyard.domain.conditions import REACHABLE
from modelyard.domain.deployment import Deployment, Failure, Phase, Revision
from modelyard.domain.failures import CATALOGUE, WAITING, Entry, Stage
from modelyard.domain.progress import active
from modelyard.domain.runtime import RuntimeState, RuntimeStatus

_TELLING = (REACHABLE, "Scheduled", "Addressed", "Scaled")
"""Types of conditions that are findings of their own while they are not so."""

__all__ = ["CATALOGUE", "Entry", "Explanation", "Finding", "Stage", "explain", "remedy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing on the way from a model to an answer that is not as it should be."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    stage: Stage
    reason: str
    """One of `CATALOGUE`, or a condition's reason."""
    message: str
    remedy: str
    """What to do about it; empty when waiting is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is wrong with a deployment, in the order in which it comes up; or that nothing is."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    summary: str
    """One sentence."""
    healthy: bool = False
    findings: tuple[Finding, ...] = ()


def explain(
    deployment: Deployment,
    revision: Revision | None,
    *,
    runtime: RuntimeStatus | None,
    gateway: Failure | None,
    last: Failure | None = None,
    lately: Failure | None = None,
) -> Explanation:
    """Walk from the model to the route and name what is in the way.

    `revision` is the wanted one; `runtime` the status of its runtime, None when there is none; `last` is the
    failure to speak of when the status remembers none; `lately` is why a model's process was started again
    not long ago.
    """
    words = _words(deployment, revision)
    found = [*_findings(deployment, runtime, gateway, last, words)]
    found.sort(key=lambda finding: list(Stage).index(finding.stage))
    ready, want = deployment.status.ready_replicas, rollout.wanted_replicas(deployment)
    service = deployment.key.service
    running = f"{ready} of {want} replicas ready, revision {deployment.wanted_revision} ({words['model']})"
    compiled = variant.running((r.variant, r.inline) for r in deployment.status.replicas)
    if compiled not in ("", variant.Variant.ORIGINAL):
        running += f", answering with {compiled}"
    if want == 0 and not scaling.starves(deployment):
        summary = _nobody(deployment)
    elif found:
        summary = f"{service}: {found[0].message} ({running})"
    elif ready >= want:
        summary = f"{service} is healthy: {running}"
        judged = active(deployment)
        if judged is not None:
            summary += (
                f"; revision {judged.revision} instead of {judged.base}, {judged.stand}: {judged.message}"
            )
    else:
        summary = f"{service} is starting: {running}"
    healthy = not found and (0 < want <= ready or scaling.sleeps(deployment)) and not deployment.deleting
    if lately and want and lately.reason not in {finding.reason for finding in found}:
        found.append(_finding(lately, words, before="a short while ago, and started again since: "))
    return Explanation(summary=summary, healthy=healthy, findings=tuple(found))


def _nobody(deployment: Deployment) -> str:
    """Why no replica is wanted, and what brings one back."""
    service, taker = deployment.key.service, deployment.claim.yielded_to
    if deployment.deleting:
        return f"{service} is being removed"
    if taker:
        return (
            f"{service} is offline: {taker} has taken its host; `modelyard restart {service}` takes it back"
        )
    if scaling.sleeps(deployment):
        return f"{service} is asleep: nobody asks it, and the next request wakes it"
    return f"{service} is offline: no replicas are wanted; `modelyard scale {service} --replicas 1` starts it"


def remedy(reason: str, words: dict[str, str]) -> str:
    """What to do about a reason, with names filled in; empty for one that the catalogue does not know."""
    entry = CATALOGUE.get(reason)
    return entry.remedy.format_map(_Named(words)) if entry else ""


def _findings(
    deployment: Deployment,
    runtime: RuntimeStatus | None,
    gateway: Failure | None,
    last: Failure | None,
    words: dict[str, str],
) -> Iterator[Finding]:
    status = deployment.status
    if rollout.wanted_replicas(deployment) == 0 and not scaling.starves(deployment):
        return
    yield from _runtime(runtime, words)
    for condition in status.conditions:
        if condition.type in _TELLING and condition.ok is False:
            yield _finding(Failure(reason=condition.reason, message=condition.message), words)
    whole = status.ready_replicas >= rollout.wanted_replicas(deployment)
    known = status.failed or status.crashes.failure or (None if whole else last)
    if known:
        yield _finding(known, words, before=_consequence(deployment))
    for r in status.replicas:
        waits = r.phase is Phase.STARTING and r.failure is not None and r.failure.reason in WAITING
        if r.phase in (Phase.STARTING, Phase.UNREADY) and r.failure and r.failure != known and not waits:
            yield _finding(r.failure, words, before=f"replica {r.name}: ")
    if gateway:
        yield _finding(gateway, words)


def _runtime(runtime: RuntimeStatus | None, words: dict[str, str]) -> Iterator[Finding]:
    if runtime is None:
        message = f"the runtime {words['runtime']} does not exist"
        yield _finding(Failure(reason="RuntimeMissing", message=message), words)
    elif runtime.state is RuntimeState.FAILED:
        reason = runtime.reason or "RuntimeBuildFailed"
        yield _finding(Failure(reason=reason, message=runtime.message), words)
    elif runtime.state is not RuntimeState.READY:
        message = runtime.message or f"the runtime {words['runtime']} is being built"
        yield Finding(stage=Stage.RUNTIME, reason="RuntimeBuilding", message=message, remedy="")


def _finding(failure: Failure, words: dict[str, str], *, before: str = "") -> Finding:
    entry = CATALOGUE.get(failure.reason)
    message = failure.message or (entry.cause if entry else failure.reason)
    return Finding(
        stage=entry.stage if entry else Stage.READY,
        reason=failure.reason,
        message=f"{before}{message}",
        remedy=remedy(failure.reason, words),
    )


def _consequence(deployment: Deployment) -> str:
    """What the failure led to, to be put before it."""
    status = deployment.status
    if status.failed:
        return f"revision {deployment.revision} failed, revision {status.good_revision} serves instead: "
    return f"failed {status.crashes.count} times: " if status.crashes.count > 1 else ""


def _words(deployment: Deployment, revision: Revision | None) -> dict[str, str]:
    spec = revision.spec if revision else deployment.spec
    return {
        "service": deployment.key.service,
        "project": deployment.project,
        "model": spec.model or spec.server.kind.value,
        "runtime": spec.runtime,
        "memory": spec.resources.memory,
    }


class _Named(dict[str, str]):
    """Names for a remedy's text; one that is not known stays in braces rather than failing."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
