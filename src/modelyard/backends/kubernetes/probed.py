"""What the kubelet's probes found of a server that is kept in its pod, from the pod's events; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.backends.kubernetes import forms, names, reasons
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain import health
from modelyard.domain.deployment import Failure

_UNWELL = re.compile(
    r"(?P<which>Startup|Readiness|Liveness) probe (?:failed|errored)[^:]*: (?P<why>.*)", re.DOTALL
)
_KILLED = re.compile(r"failed (?P<which>startup|liveness) probe")
_STATUS = re.compile(r"HTTP probe failed with statuscode: (?P<code>[0-9]+)")
_MOST_WORDS = 600


def told(events: Iterable[Manifest], pod: Manifest) -> Failure | None:
    """Why the server was started again, or why it is not ready; None when no event says.

    As long as it is not well since it was started again, and when all is well, its last end is what counts.
    """
    found = sorted(events, key=_when, reverse=True)
    said = reasons.server(pod)
    if reasons.end_of(said) and (said.get("ready") or not said.get("started")):
        return _killed(found, pod, reasons.end_of(said))
    since = _time((said.get("state", {}).get("running") or {}).get("startedAt"))
    why = _why(found, pod, ("Startup", "Readiness"), since=since)
    return _failure(health.READINESS_FAILED, f"the readiness probe fails: {why}") if why else None


def _killed(events: list[Manifest], pod: Manifest, end: Mapping[str, Any]) -> Failure | None:
    """That the kubelet itself ended it, since it did not answer well."""
    begun, ended = _time(end.get("startedAt")), _time(end.get("finishedAt"))
    for event in events:
        found = _KILLED.search(str(event.get("message", "")))
        if event.get("reason") != "Killing" or found is None or not begun <= _when(event) <= ended:
            continue
        if found["which"] == "liveness":
            why = _why(events, pod, ("Liveness",), since=begun) or "it gave no good answer"
            return _failure(health.LIVENESS_FAILED, f"the liveness probe failed: {why}")
        why = _why(events, pod, ("Startup",), since=begun) or "it gave no good answer"
        return _failure(health.READINESS_FAILED, f"the readiness probe failed for too long: {why}")
    return None


def _why(events: list[Manifest], pod: Manifest, which: tuple[str, ...], *, since: float) -> str:
    """The newest words on one of these probes."""
    for event in events:
        found = _UNWELL.match(str(event.get("message", "")))
        if event.get("reason") == "Unhealthy" and found and found["which"] in which and _when(event) >= since:
            return _in_short(found["why"], _path(pod, found["which"]))
    return ""


def _in_short(why: str, path: str) -> str:
    """As the embedded mode says it, where that can be."""
    status = _STATUS.match(why)
    return f"{path} answered {status['code']}" if status and path else why.strip()


def _path(pod: Manifest, which: str) -> str:
    for each in pod.get("spec", {}).get("containers", ()):
        if each["name"] == names.SERVER:
            probe = each.get(f"{which.lower()}Probe") or {}
            return str((probe.get("httpGet") or {}).get("path", ""))
    return ""


def _failure(reason: str, message: str) -> Failure:
    return Failure(reason=reason, message=" ".join(message.split())[:_MOST_WORDS])


def _when(event: Manifest) -> float:
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max(map(_time, stamps))


def _time(text: object) -> float:
    """In whole seconds, as most of these times are, so that they can be compared."""
    return float(int(forms.seconds(text)))
