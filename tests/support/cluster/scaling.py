"""The subresources `scale` and `eviction`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.cluster import verbs
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Name, Object, selected
from tests.support.cluster.verbs import Cluster, Options


def scale(cluster: Cluster, resource: Resource, name: Name, body: Any, options: Options) -> Object:
    """Read or change the number of replicas."""
    if body is not None:
        wanted = body.get("spec", {}).get("replicas")
        if not isinstance(wanted, int) or wanted < 0:
            raise Refusal(422, "spec.replicas: Invalid value: must be greater than or equal to 0")
        patch = {"spec": {"replicas": wanted}}
        version = body.get("metadata", {}).get("resourceVersion")
        if version:
            patch["metadata"] = {"resourceVersion": version}
        cluster.patch(resource, name, verbs.MERGE, patch, replace(options, validation="Ignore"))
    value = cluster.read(resource, name)
    labels = (value["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: value["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": value["spec"].get("replicas", 0)},
        "status": {
            "replicas": value.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
        },
    }


def evict(cluster: Cluster, name: Name, options: Options) -> Object:
    """Delete a pod unless a disruption budget would be violated; raises Refusal 429 then."""
    pods = cluster.kind("Pod")
    pod = cluster.read(pods, name)
    for budget in cluster.store.list(cluster.kind("PodDisruptionBudget"), name[0]):
        fits = selected(pod["metadata"].get("labels") or {}, budget["spec"].get("selector") or {})
        if fits and budget.get("status", {}).get("disruptionsAllowed", 0) < 1:
            said = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Refusal(429, said, retry_after=10)
    cluster.delete(pods, name, options)
    return {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}
