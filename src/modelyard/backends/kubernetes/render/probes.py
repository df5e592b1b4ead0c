"""Whether a pod is well: our probes in the words of Kubernetes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.backends.kubernetes.render import references
from modelyard.domain import health, texts
from modelyard.domain.health import Health, Probe

PortOf = Callable[[int], int]
"""The container's port for one that a probe names; 0 stands for the first."""
Names = Mapping[str, str]
"""What questions may name; values have `references` in them."""

START_PERIOD_SECONDS = 1
GRACE_SECONDS = 10
"""How long past its start time-out a replica may still say itself why it does not load."""


def own(*, port: int, start_seconds: float) -> dict[str, Any]:
    """Of Modelyard's own server, whose front answers while a model computes, hangs or dies."""
    return {
        "startupProbe": {**_http(port, "/readyz"), **_starting(start_seconds), "timeoutSeconds": 2},
        "readinessProbe": {
            **_http(port, "/readyz"), "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2,
        },
        "livenessProbe": {
            **_http(port, "/livez"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3,
        },
    }  # fmt: skip


def asked(wanted: Health, *, port_of: PortOf, names: Names, start_seconds: float) -> dict[str, Any]:
    """Of any server; without a readiness probe it is ready when it listens on its first port."""
    readiness = _question(wanted.readiness, port_of, names) or {"tcpSocket": {"port": port_of(0)}}
    pace = _pace(wanted.readiness) if wanted.readiness else {"periodSeconds": 2, "failureThreshold": 2}
    found = {
        "startupProbe": {
            **readiness,
            **_starting(start_seconds),
            "timeoutSeconds": pace.get("timeoutSeconds", 2),
        },
        "readinessProbe": {**readiness, **pace},
    }
    liveness = _question(wanted.liveness, port_of, names)
    if liveness and wanted.liveness:
        found["livenessProbe"] = {**liveness, **_pace(wanted.liveness)}
    return found


def _starting(seconds: float) -> dict[str, Any]:
    most = math.ceil((seconds + GRACE_SECONDS) / START_PERIOD_SECONDS)
    return {"periodSeconds": START_PERIOD_SECONDS, "failureThreshold": max(1, most)}


def _pace(probe: Probe) -> dict[str, Any]:
    """Kubernetes knows whole seconds only; shorter ones are one."""
    return {
        "periodSeconds": max(1, round(probe.period_seconds)),
        "timeoutSeconds": max(1, round(probe.timeout_seconds)),
        "failureThreshold": probe.failure_threshold,
        "successThreshold": probe.success_threshold,
    }


def _question(probe: Probe | None, port_of: PortOf, names: Names) -> dict[str, Any] | None:
    """What the kubelet asks: it fills in nothing, and an address is known before there is a pod."""
    if probe is None:
        return None
    if probe.command:
        command = probe.command if isinstance(probe.command, str) else tuple(probe.command)
        words = texts.argv(texts.fill_command(command, names))
        return {"exec": {"command": references.asked_inside(words)}}
    port, path = health.target(texts.fill(probe.http, references.without(names)))
    return _http(port_of(port), path)


def _http(port: int, path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}}
