"""What the API server fills in, as far as a client can stumble over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]


def fill(kind: str, value: Object) -> None:
    """Fill in the defaults of this kind, in place."""
    rule = _RULES.get(kind)
    if rule is not None:
        rule(value.setdefault("spec", {}))


def select_own(value: Object) -> None:
    """Have a new Job's pods told by its uid and its name, as it is asked for without a selector."""
    if value["kind"] != "Job" or value["spec"].get("manualSelector"):
        return
    metadata = value["metadata"]
    own = {"batch.kubernetes.io/controller-uid": metadata["uid"]}
    value["spec"]["selector"] = {"matchLabels": own}
    template = value["spec"]["template"].setdefault("metadata", {})
    names = {"batch.kubernetes.io/job-name": metadata["name"], "job-name": metadata["name"]}
    legacy = {"controller-uid": metadata["uid"]}
    template["labels"] = {**(template.get("labels") or {}), **own, **legacy, **names}


def _deployment(spec: Object) -> None:
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _pod(spec.setdefault("template", {}).setdefault("spec", {}))


def _replica_set(spec: Object) -> None:
    spec.setdefault("replicas", 1)
    _pod(spec.setdefault("template", {}).setdefault("spec", {}))


def _job(spec: Object) -> None:
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completions", 1)
    spec.setdefault("parallelism", 1)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    _pod(spec.setdefault("template", {}).setdefault("spec", {}), restart="Never")


def _pod(spec: Object, *, restart: str = "Always") -> None:
    spec.setdefault("restartPolicy", restart)
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("serviceAccountName", "default")
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)


def _container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    tag = str(container.get("image", "")).rpartition("/")[2]
    latest = ":" not in tag or tag.endswith(":latest")
    container.setdefault("imagePullPolicy", "Always" if latest and "@" not in tag else "IfNotPresent")
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])
    resources = container["resources"]
    for name, amount in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)


def _probe(probe: Object) -> None:
    for name, value in (
        ("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)
    ):  # fmt: skip
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")


def _service(spec: Object) -> None:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


_RULES: dict[str, Callable[[Object], None]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _replica_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _service,
}
