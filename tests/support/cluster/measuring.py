"""`metrics.k8s.io`: what pods and nodes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object, matches
from tests.support.cluster.verbs import Cluster

GROUP = "metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one container."""

    cores: float
    bytes: int


Measure = Callable[[Object], Mapping[str, Usage]]
"""What the containers of a pod use; nothing of those that were not measured yet."""


def group() -> Object:
    """The group as `/apis` lists it."""
    known = {"groupVersion": VERSION, "version": "v1beta1"}
    return {"name": GROUP, "versions": [known], "preferredVersion": known}


def kinds() -> Object:
    """`/apis/metrics.k8s.io/v1beta1`."""
    listed = [
        {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
        for name, namespaced, kind in (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": listed}


def answer(cluster: Cluster, measure: Measure, path: list[str], query: Mapping[str, str]) -> Object:
    """What is below the group: `nodes`, `pods`, `namespaces/NS/pods`, and single ones of them."""
    match path:
        case []:
            return kinds()
        case ["nodes", *name]:
            found = [_node(cluster, measure, each) for each in _nodes(cluster)]
            return _one(found, name[0], "nodes") if name else _list("NodeMetricsList", found)
        case ["pods"]:
            return _list("PodMetricsList", _pods(cluster, measure, "", query))
        case ["namespaces", namespace, "pods", *name]:
            found = _pods(cluster, measure, namespace, query)
            return _one(found, name[0], "pods") if name else _list("PodMetricsList", found)
    raise Refusal(404, "the server could not find the requested resource")


def _nodes(cluster: Cluster) -> list[Object]:
    return cluster.store.list(cluster.kind("Node"))


def _pods(cluster: Cluster, measure: Measure, namespace: str, query: Mapping[str, str]) -> list[Object]:
    return [
        _pod(cluster, pod, used)
        for pod in cluster.store.list(cluster.kind("Pod"), namespace)
        if matches(pod["metadata"].get("labels") or {}, query.get("labelSelector", ""))
        if (used := measure(pod))
    ]


def _pod(cluster: Cluster, pod: Object, used: Mapping[str, Usage]) -> Object:
    metadata = {
        key: pod["metadata"][key] for key in ("name", "namespace", "labels") if key in pod["metadata"]
    }
    containers = [{"name": name, "usage": _amounts(each)} for name, each in used.items()]
    return _measured(cluster, "PodMetrics", metadata) | {"containers": containers}


def _node(cluster: Cluster, measure: Measure, node: Object) -> Object:
    pods = [
        each
        for pod in cluster.store.list(cluster.kind("Pod"))
        if pod["spec"].get("nodeName") == node["metadata"]["name"]
        for each in measure(pod).values()
    ]
    whole = Usage(sum(each.cores for each in pods), sum(each.bytes for each in pods))
    metadata = {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}}
    return _measured(cluster, "NodeMetrics", metadata) | {"usage": _amounts(whole)}


def _measured(cluster: Cluster, kind: str, metadata: Any) -> Object:
    now = cluster.store.now()
    head = {"kind": kind, "apiVersion": VERSION, "timestamp": now, "window": "15s"}
    return {**head, "metadata": {**metadata, "creationTimestamp": now}}


def _amounts(used: Usage) -> dict[str, str]:
    """As metrics-server writes them."""
    return {"cpu": f"{round(used.cores * 1e9)}n", "memory": f"{used.bytes // 1024}Ki"}


def _list(kind: str, items: list[Object]) -> Object:
    return {"kind": kind, "apiVersion": VERSION, "metadata": {}, "items": items}


def _one(found: list[Object], name: str, plural: str) -> Object:
    for each in found:
        if each["metadata"]["name"] == name:
            return each
    raise Refusal(404, f'{plural}.{GROUP} "{name}" not found', details={"name": name, "group": GROUP})


def requested(pod: Object) -> Mapping[str, Usage]:
    """For pods that are not run: each container of a running one uses what it asks for."""
    if pod.get("status", {}).get("phase") != "Running":
        return {}
    found = {}
    for container in pod["spec"]["containers"]:
        amounts = container.get("resources", {}).get("requests") or {}
        cores, size = (float(quantities.parse(amounts.get(name, "0"))) for name in ("cpu", "memory"))
        found[container["name"]] = Usage(cores, int(size))
    return found
