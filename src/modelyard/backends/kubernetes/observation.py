"""A replica from its pod, from what was wished of it, and from what its front says of itself; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.backends import reports
from modelyard.backends.kubernetes import names, reasons
from modelyard.backends.kubernetes.forms import seconds
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.pod import waits_before_stop
from modelyard.domain import health
from modelyard.domain.deployment import Failure, Phase, Replica

_START_SECONDS = 3.0
"""A server that runs may be without a good answer for so long before anybody asks why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One wanted replica, as its Deployment remembers it."""

    name: str
    revision: int
    gpus: tuple[int, ...] = ()
    cpu_millis: int = 0
    memory_bytes: int = 0
    ports: tuple[int, ...] = ()
    metrics: str = ""
    own: bool = True
    """Whether Modelyard's own server runs in it."""
    kept: bool = False
    """Whether its server is started again in its pod, as a keeper does it in the embedded mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a wanted replica."""

    wish: Wish
    pod: Manifest | None = None
    refused: Failure | None = None
    """Why the cluster does not even make a pod."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """What its front said of itself last; empty when it says nothing."""
    unwanted: bool = False
    """Whether it is on its way out without being deleted yet."""
    complaint: Failure | None = None
    """What its events say of why it does not get on."""


def judge(seen: Seen) -> Replica:
    """The replica as it is."""
    wish, pod = seen.wish, seen.pod
    if pod is None:
        return _replica(seen, Phase.STARTING, seen.refused, waits=True)
    metadata = pod["metadata"]
    if "deletionTimestamp" in metadata or seen.unwanted:
        return _replica(seen, Phase.STOPPING, None, stopping_since=_stopping_since(pod) or 1.0)
    trouble = reasons.of_pod(pod, kept=wish.kept)
    # Of how a server ended, events may know more than its exit code.
    failure = seen.complaint or trouble.failure if trouble else reports.failure(seen.state, "failure")
    if trouble is not None and trouble.ended:
        return _replica(seen, Phase.FAILED, failure)
    if since := _number(metadata.get("annotations", {}).get(names.DRAINING_SINCE)):
        return _replica(seen, Phase.DRAINING, failure, draining_since=since)
    if is_ready(pod):
        return _replica(seen, Phase.READY, reports.failure(seen.state, "last_failure") or _last_end(seen))
    if _was_up(pod, wish):
        return _replica(seen, Phase.UNREADY, failure or seen.complaint or _not_ready(wish))
    return _replica(seen, Phase.STARTING, failure or seen.complaint, waits=not _runs(pod))


def address(pod: Manifest, wish: Wish, port: int = 0) -> str:
    """Where one of the pod's ports is reached; empty while it has no address or no such port."""
    ip = str(pod.get("status", {}).get("podIP") or "")
    if not ip or port >= len(wish.ports):
        return ""
    return f"[{ip}]:{wish.ports[port]}" if ":" in ip else f"{ip}:{wish.ports[port]}"


def is_held_up(pod: Manifest, *, now: float, patience: float, kept: bool = False) -> bool:
    """Whether only a pod's events say why it is as it is.

    It has had its node for longer than a start takes, and does not run. Or its server is kept, and was
    started again or is not well: of that the pod itself says nothing.
    """
    metadata, spec = pod["metadata"], pod.get("spec", {})
    if not spec.get("nodeName") or "deletionTimestamp" in metadata:
        return False
    if kept and (reasons.end_of(reasons.server(pod)) or _runs(pod)):
        ended, since = reasons.end_of(reasons.server(pod)), started_at(pod)
        lacks = not is_ready(pod) and (_was_up(pod) or now - since > _START_SECONDS)
        return bool(ended) or lacks
    if _runs(pod) or is_ready(pod):
        return False
    return reasons.of_pod(pod) is None and now - seconds(metadata.get("creationTimestamp")) > patience


def started_at(pod: Manifest) -> float:
    """When its server was started; 0 while it was not."""
    state = reasons.server(pod).get("state", {})
    running = state.get("running") or state.get("terminated") or {}
    return seconds(running.get("startedAt"))


def _replica(
    seen: Seen,
    phase: Phase,
    failure: Failure | None,
    *,
    waits: bool = False,
    draining_since: float = 0.0,
    stopping_since: float = 0.0,
) -> Replica:
    wish, pod, state = seen.wish, seen.pod or {}, seen.state
    here = address(pod, wish)
    return Replica(
        name=wish.name,
        revision=wish.revision,
        phase=phase,
        address=here,
        second_address=address(pod, wish, 1),
        metrics_address=_metrics(pod, wish),
        started_at=started_at(pod),
        draining_since=draining_since,
        stopping_since=stopping_since,
        node=str(pod.get("spec", {}).get("nodeName") or ""),
        failure=failure,
        worker_restarts=reports.count(state, "worker_restarts")
        + int(reasons.server(pod).get("restartCount", 0)),
        memory_bytes=reports.count(state, "memory_bytes"),
        loaded_bytes=reports.of_model(state, "memory_bytes"),
        peak_bytes=reports.of_model(state, "peak_bytes"),
        gpus=wish.gpus,
        cpu_millis=wish.cpu_millis,
        memory_reserved=wish.memory_bytes,
        variant=str(state.get("variant") or ""),
        inline=state.get("inline") is True,
        waits=waits,
    )


def _metrics(pod: Manifest, wish: Wish) -> str:
    ip = str(pod.get("status", {}).get("podIP") or "")
    port, path = health.target(wish.metrics)
    if not ip or not path or not wish.ports:
        return ""
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{port or wish.ports[0]}{path}"


def _last_end(seen: Seen) -> Failure | None:
    """Why a kept server that is well was started again the last time."""
    if not seen.wish.kept or seen.pod is None:
        return None
    return seen.complaint or reasons.last_end(seen.pod)


def is_ready(pod: Manifest) -> bool:
    """Whether it takes requests, as its node says."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _was_up(pod: Manifest, wish: Wish | None = None) -> bool:
    """Whether its server had started well, so that what it is now came later."""
    again = wish is not None and wish.kept and reasons.was_well(pod)
    return again or reasons.server(pod).get("started") is True


def _runs(pod: Manifest) -> bool:
    return "running" in reasons.server(pod).get("state", {})


def _not_ready(wish: Wish) -> Failure | None:
    """Modelyard's own front says itself why; of another server only its probe is known."""
    if wish.own:
        return None
    return Failure(reason=health.READINESS_FAILED, message="its readiness probe fails")


def _stopping_since(pod: Manifest) -> float:
    """When it was told to go and had finished answering what was still sent: the API says only its end."""
    metadata = pod["metadata"]
    end, waits = seconds(metadata.get("deletionTimestamp")), waits_before_stop(_first_container(pod))
    return end - float(metadata.get("deletionGracePeriodSeconds") or 0) + waits if end else 0.0


def _first_container(pod: Manifest) -> dict[str, Any]:
    """The one that answers."""
    return next(iter((pod.get("spec") or {}).get("containers") or ()), {})


def _number(text: object) -> float:
    try:
        return float(str(text)) if text else 0.0
    except ValueError:
        return 1.0
