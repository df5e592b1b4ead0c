"""A replica from its pod, from what was wished of it, and from what its front says of itself; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelyard.backends import reports
from modelyard.backends.kubernetes import names, reasons
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.pod import PRE_STOP_SECONDS
from modelyard.domain import health
from modelyard.domain.deployment import Failure, Phase, Replica


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
        return _replica(seen, Phase.STOPPING, None, stopping_since=_stopping_since(metadata) or 1.0)
    trouble = reasons.of_pod(pod)
    if trouble is not None and trouble.ended:
        return _replica(seen, Phase.FAILED, trouble.failure)
    failure = trouble.failure if trouble else reports.failure(seen.state, "failure")
    if since := _number(metadata.get("annotations", {}).get(names.DRAINING_SINCE)):
        return _replica(seen, Phase.DRAINING, failure, draining_since=since)
    if _is_ready(pod):
        return _replica(seen, Phase.READY, reports.failure(seen.state, "last_failure"))
    if _was_up(pod):
        return _replica(seen, Phase.UNREADY, failure or _not_ready(wish))
    return _replica(seen, Phase.STARTING, failure or seen.complaint, waits=not _runs(pod))


def address(pod: Manifest, wish: Wish, port: int = 0) -> str:
    """Where one of the pod's ports is reached; empty while it has no address or no such port."""
    ip = str(pod.get("status", {}).get("podIP") or "")
    if not ip or port >= len(wish.ports):
        return ""
    return f"[{ip}]:{wish.ports[port]}" if ":" in ip else f"{ip}:{wish.ports[port]}"


def is_held_up(pod: Manifest, *, now: float, patience: float) -> bool:
    """Whether a pod has had its node for longer than a start takes, and does not say why it does not run."""
    metadata, spec = pod["metadata"], pod.get("spec", {})
    if not spec.get("nodeName") or "deletionTimestamp" in metadata or _runs(pod) or _is_ready(pod):
        return False
    return reasons.of_pod(pod) is None and now - _time(metadata.get("creationTimestamp")) > patience


def started_at(pod: Manifest) -> float:
    """When its server was started; 0 while it was not."""
    state = _server(pod).get("state", {})
    running = state.get("running") or state.get("terminated") or {}
    return _time(running.get("startedAt"))


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
        worker_restarts=reports.count(state, "worker_restarts") + int(_server(pod).get("restartCount", 0)),
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


def _server(pod: Manifest) -> Mapping[str, Any]:
    """The status of the container that answers."""
    found = pod.get("status", {}).get("containerStatuses", ())
    return next((each for each in found if each.get("name") == names.SERVER), {})


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _was_up(pod: Manifest) -> bool:
    """Whether its server had started well, so that what it is now came later."""
    return _server(pod).get("started") is True


def _runs(pod: Manifest) -> bool:
    return "running" in _server(pod).get("state", {})


def _not_ready(wish: Wish) -> Failure | None:
    """Modelyard's own front says itself why; of another server only its probe is known."""
    if wish.own:
        return None
    return Failure(reason=health.READINESS_FAILED, message="its readiness probe fails")


def _stopping_since(metadata: Mapping[str, Any]) -> float:
    """When it was told to go and had finished answering what was still sent: the API says only its end."""
    end = _time(metadata.get("deletionTimestamp"))
    return end - float(metadata.get("deletionGracePeriodSeconds") or 0) + PRE_STOP_SECONDS if end else 0.0


def _number(text: object) -> float:
    try:
        return float(str(text)) if text else 0.0
    except ValueError:
        return 1.0


def _time(text: object) -> float:
    """Seconds since the epoch of a time of the API; 0 for none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp() if text else 0.0
    except ValueError:
        return 0.0
