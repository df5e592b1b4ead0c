"""How a Job is handed to Kueue: the label that names a LocalQueue, and the LocalQueue of a project."""

from __future__ import annotations

from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import LOCAL_QUEUE, Manifest

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label of a Job: the LocalQueue of its namespace that it waits in."""
JOB_UID = "kueue.x-k8s.io/job-uid"
"""Label of a Workload: the Job that it was made of."""


def name_of(cluster_queue: str) -> str:
    """What the LocalQueue that leads there is called: where one leads can never be changed."""
    return names.k8s_name("modelyard", cluster_queue)


def local_queue(project: str, namespace: str, cluster_queue: str) -> Manifest:
    """The project's way into the ClusterQueue."""
    return {
        "apiVersion": LOCAL_QUEUE.api_version,
        "kind": LOCAL_QUEUE.name,
        "metadata": {
            "name": name_of(cluster_queue),
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
        "spec": {"clusterQueue": cluster_queue},
    }


def labels(local: str) -> dict[str, str]:
    """What a Job carries that waits in this LocalQueue; nothing for none."""
    return {QUEUE: local} if local else {}


def suspended(local: str) -> dict[str, Any]:
    """What its spec says: it makes no pod before Kueue lets it, also while Kueue is away."""
    return {"suspend": True} if local else {}
