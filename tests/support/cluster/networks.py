"""EndpointSlices and PodDisruptionBudgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.cluster.store import Object, selected
from tests.support.cluster.workloads import _part
from tests.support.cluster.writing import Hand, is_leaving, is_ready, reference


def service(hand: Hand, value: Object) -> None:
    """Keep the slice of a service that selects pods."""
    selector = value["spec"].get("selector")
    if not selector or is_leaving(value):
        return
    namespace = value["metadata"]["namespace"]
    pods = [p for p in hand.list("Pod", namespace) if _fits(p, selector)]
    endpoints = [_endpoint(p) for p in pods if p.get("status", {}).get("podIP")]
    ports = [
        {"name": p.get("name", ""), "port": _target(p, pods), "protocol": p["protocol"]}
        for p in value["spec"].get("ports", ())
    ]
    name = f"{value['metadata']['name']}-slice"
    known = hand.get("EndpointSlice", (namespace, name))
    wanted = {"endpoints": endpoints, "ports": ports}
    if known is None:
        labels = {"kubernetes.io/service-name": value["metadata"]["name"]}
        metadata = {"name": name, "labels": labels, "ownerReferences": reference(value)}
        hand.create("EndpointSlice", namespace, {"metadata": metadata, "addressType": "IPv4", **wanted})
    elif {k: known.get(k) for k in wanted} != wanted:
        hand.change(known, wanted)


def _fits(pod: Object, selector: Mapping[str, str]) -> bool:
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not ended and selected(pod["metadata"].get("labels") or {}, {"matchLabels": selector})


def _endpoint(pod: Object) -> Object:
    leaving = is_leaving(pod)
    conditions = {"ready": is_ready(pod) and not leaving, "serving": is_ready(pod), "terminating": leaving}
    target = {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    return {"addresses": [pod["status"]["podIP"]], "conditions": conditions, "targetRef": target}


def _target(port: Mapping[str, Any], pods: list[Object]) -> int:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = [
        each["containerPort"]
        for pod in pods
        for container in pod["spec"]["containers"]
        for each in container.get("ports", ())
        if each.get("name") == target
    ]
    return named[0] if named else port["port"]


def budget(hand: Hand, value: Object) -> None:
    """How many pods may be evicted now."""
    namespace = value["metadata"]["namespace"]
    selector = value["spec"].get("selector") or {}
    pods = [p for p in hand.list("Pod", namespace) if selected(p["metadata"].get("labels") or {}, selector)]
    healthy = sum(is_ready(p) and not is_leaving(p) for p in pods)
    if "maxUnavailable" in value["spec"]:
        needed = len(pods) - _part(value["spec"]["maxUnavailable"], len(pods), up=True)
    else:
        needed = _part(value["spec"].get("minAvailable", 0), len(pods), up=True)
    hand.status(
        value,
        {
            "currentHealthy": healthy,
            "desiredHealthy": needed,
            "expectedPods": len(pods),
            "disruptionsAllowed": max(healthy - needed, 0),
            "observedGeneration": value["metadata"].get("generation", 1),
        },
    )
