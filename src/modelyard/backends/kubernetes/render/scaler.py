"""What has the cluster decide how many pods of a revision there are: an HPA, or an object of KEDA. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.backends.base import Rule, Unable
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    Kind,
    Manifest,
)
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.autoscaling import Metric, Scaler, Target, targets
from modelyard.domain.deployment import Key

GPU_METRIC = "modelyard_gpu_utilization"
"""What an adapter for custom metrics has to call the percentage of a pod's GPUs."""
_GPU_RESOURCE = f"custom.metrics.k8s.io/v1beta1/pods/{GPU_METRIC}"
_OF_PODS = (Metric.CPU, Metric.MEM)
_AT_THE_GATEWAY = (Metric.CONCURRENCY, Metric.QPS)
_CALLED = {Metric.CPU: "cpu", Metric.MEM: "memory"}
_POLLING_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What an autoscaler works on."""

    rule: Rule
    namespace: str
    owner: Mapping[str, Any]
    """Reference to what the object goes with."""

    @property
    def name(self) -> str:
        """That of the revision's Deployment, and so of what scales it."""
        return names.revision_name(self.rule.key, self.rule.revision)


def scaled_by(deployment: Manifest) -> str:
    """The kind of what decides the number of a Deployment's pods; empty while the platform does."""
    return str((deployment["metadata"].get("annotations") or {}).get(names.SCALED_BY, ""))


def autoscaler_name(kind: str, revision: str) -> str:
    """The HPA that works on a revision: ours, or the one that KEDA makes."""
    return f"keda-hpa-{revision}" if kind == SCALED_OBJECT.name else revision


def scaler(scaled: Scaled, capabilities: Capabilities, settings: Settings) -> Manifest | Unable:
    """The object that follows all that the rule names, or why this cluster has none that could."""
    wanted = targets(scaled.rule.scaling.on)
    at_gateway = [each for each in wanted if each.metric in _AT_THE_GATEWAY]
    if at_gateway and scaled.rule.scaling.by is not Scaler.CLUSTER:
        return Unable(f"{_listed(at_gateway)} is measured at the platform's gateway")
    lacking = tuple(_lacking(wanted, capabilities))
    if not lacking:
        return _horizontal(scaled, wanted)
    if not capabilities.has_keda or not settings.prometheus_url:
        keda = "KEDA, and its Prometheus as kubernetes.prometheus_url"
        return Unable(f"{_listed(lacking)} would need {_remedy(lacking)}{keda}")
    if not capabilities.has_metrics and any(each.metric in _OF_PODS for each in wanted):
        return Unable("cpu and mem need the metrics API, such as that of metrics-server")
    return _keda(scaled, wanted, settings)


def _lacking(wanted: Sequence[Target], capabilities: Capabilities) -> Iterable[Target]:
    """What an HPA cannot follow here."""
    for each in wanted:
        followed = each.metric in _OF_PODS and capabilities.has_metrics
        by_adapter = each.metric is Metric.GPU and capabilities.serves(_GPU_RESOURCE)
        if not followed and not by_adapter:
            yield each


def _remedy(lacking: Sequence[Target]) -> str:
    metrics = {each.metric for each in lacking}
    found = []
    if metrics & set(_OF_PODS):
        found.append("the metrics API, such as that of metrics-server; ")
    if Metric.GPU in metrics:
        found.append(f"the metric {GPU_METRIC} of pods at custom.metrics.k8s.io, or ")
    return "".join(found)


def _horizontal(scaled: Scaled, wanted: Sequence[Target]) -> Manifest:
    rule = scaled.rule
    return _head(HORIZONTAL_POD_AUTOSCALER, scaled) | {
        "spec": {
            "scaleTargetRef": _target(scaled),
            "minReplicas": rule.least,
            "maxReplicas": rule.most,
            "metrics": [_metric(each) for each in wanted],
            "behavior": _behavior(rule),
        }
    }


def _metric(target: Target) -> dict[str, Any]:
    percent = round(target.value * 100)
    if target.metric is Metric.GPU:
        named = {"metric": {"name": GPU_METRIC}}
        return {"type": "Pods", "pods": {**named, "target": _average(str(percent))}}
    # Of the container that answers: an init container's or sidecar's use is not load.
    use = {"type": "Utilization", "averageUtilization": percent}
    container = {"name": _CALLED[target.metric], "container": names.SERVER, "target": use}
    return {"type": "ContainerResource", "containerResource": container}


def _average(value: str) -> dict[str, str]:
    return {"type": "AverageValue", "averageValue": value}


def _behavior(rule: Rule) -> dict[str, Any]:
    """More at once, fewer with patience; how many at a time is the cluster's default."""
    scaling = rule.scaling
    return {
        "scaleUp": {"stabilizationWindowSeconds": round(scaling.up_seconds)},
        "scaleDown": {"stabilizationWindowSeconds": round(scaling.down_seconds)},
    }


def _keda(scaled: Scaled, wanted: Sequence[Target], settings: Settings) -> Manifest:
    rule = scaled.rule
    return _head(SCALED_OBJECT, scaled) | {
        "spec": {
            "scaleTargetRef": _target(scaled),
            "minReplicaCount": rule.least,
            "maxReplicaCount": rule.most,
            "pollingInterval": _POLLING_SECONDS,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(rule)}},
            "triggers": [_trigger(each, scaled, settings) for each in wanted],
        }
    }


def _trigger(target: Target, scaled: Scaled, settings: Settings) -> dict[str, Any]:
    if target.metric in _OF_PODS:
        metadata = {"value": str(round(target.value * 100)), "containerName": names.SERVER}
        return {"type": _CALLED[target.metric], "metricType": "Utilization", "metadata": metadata}
    gpu = target.metric is Metric.GPU
    metadata = {
        "serverAddress": settings.prometheus_url,
        "threshold": f"{target.value * 100 if gpu else target.value:g}",
        "query": query(target.metric, scaled),
    }
    return {"type": "prometheus", "metricType": "AverageValue", "metadata": metadata}


def query(metric: Metric, scaled: Scaled) -> str:
    """What a Prometheus that reads the platform's metrics is asked for the load of a whole service.

    Requests in flight are those that ended within a minute times the seconds that each took (Little's law).
    """
    if metric is Metric.GPU:
        where = f'namespace="{scaled.namespace}",pod=~"{scaled.name}-.*"'
        return f"sum(avg_over_time(DCGM_FI_DEV_GPU_UTIL{{{where}}}[1m]))"
    where = _whose(scaled.rule.key)
    counter = {
        Metric.QPS: "modelyard_gateway_requests_total",
        Metric.CONCURRENCY: "modelyard_gateway_request_duration_seconds_sum",
    }[metric]
    return f"sum(rate({counter}{{{where}}}[1m])) or vector(0)"


def _whose(key: Key) -> str:
    """Copies of requests that others serve are no load of this one."""
    return f'project="{key.project}",service="{key.service}",stage="{key.stage}",via!="mirror"'


def _target(scaled: Scaled) -> dict[str, str]:
    return {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": scaled.name}


def _head(kind: Kind, scaled: Scaled) -> Manifest:
    rule = scaled.rule
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": scaled.name,
            "namespace": scaled.namespace,
            "labels": names.labels(rule.key, rule.revision),
            "ownerReferences": [dict(scaled.owner)],
        },
    }


def _listed(wanted: Sequence[Target]) -> str:
    return " and ".join(str(each.metric) for each in wanted)
