"""Kueue decides when tasks begin: where a project's Jobs wait, and why one still does."""

from __future__ import annotations

from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import LOCAL_QUEUE, WORKLOAD, Manifest
from modelyard.backends.kubernetes.render import queueing
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.errors import BackendError, ModelyardError, NotFound

ASKS = "waits for Kueue to look at it"


def chosen(settings: Settings, capabilities: Capabilities) -> str:
    """The ClusterQueue that tasks wait in; empty where the platform's own queue counts."""
    return settings.cluster_queue if capabilities.has_kueue else ""


def told(cluster_queue: str, capabilities: Capabilities) -> str:
    """Which queue counts for tasks, and what would have to be done for the other."""
    if capabilities.has_kueue and cluster_queue:
        return f"Kueue: ClusterQueue {cluster_queue}"
    if capabilities.has_kueue:
        return "the platform's own; Kueue's where kubernetes.cluster_queue names a ClusterQueue"
    named = f", as no Kueue serves kubernetes.cluster_queue {cluster_queue}" if cluster_queue else ""
    return f"the platform's own{named}"


async def prepare(cluster: Cluster, settings: Settings, project: str) -> None:
    """Make the project's LocalQueue, and take away those of ours that lead elsewhere.

    Raises BackendError when Kueue was there and is no more.
    """
    namespace = settings.namespace(project)
    wanted = queueing.local_queue(project, namespace, settings.cluster_queue)
    try:
        ours = f"{names.MANAGED_BY}={names.MANAGER}"
        there = {
            each["metadata"]["name"]: each
            for each in (await cluster.list(LOCAL_QUEUE, namespace=namespace, labels=ours)).items
        }
        name = wanted["metadata"]["name"]
        if there.get(name, {}).get("spec", {}).get("clusterQueue") != settings.cluster_queue:
            await cluster.apply(wanted)
        for other in there.keys() - {name}:
            await cluster.delete(LOCAL_QUEUE, other, namespace=namespace)
    except NotFound as error:
        message = f"Kueue, which was to admit this task, is no more in the cluster: {error.message}"
        raise BackendError(message, retryable=True) from error


async def why(cluster: Cluster, job: Manifest) -> str:
    """What Kueue says of a Job that it does not let begin."""
    metadata = job["metadata"]
    queue = (metadata.get("labels") or {}).get(queueing.QUEUE, "")
    chosen_by = f"{queueing.JOB_UID}={metadata['uid']}"
    try:
        found = (await cluster.list(WORKLOAD, namespace=metadata["namespace"], labels=chosen_by)).items
    except ModelyardError as error:
        return f"waits in LocalQueue {queue}; what Kueue says of it cannot be read: {error.message}"
    if not found:
        return f"waits in LocalQueue {queue}; Kueue has not looked at it yet"
    return f"waits in LocalQueue {queue}: {_said(found[0])}"


def is_suspended(job: Manifest) -> bool:
    """Whether it may not have pods."""
    return bool(job["spec"].get("suspend"))


def _said(workload: Manifest) -> str:
    conditions: dict[str, Any] = {
        each["type"]: each for each in workload.get("status", {}).get("conditions") or ()
    }
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    if workload["spec"].get("active") is False:
        return f"somebody deactivated its Workload {workload['metadata']['name']}"
    if reserved.get("status") == "True":
        return "its quota is reserved, and admission checks are awaited"
    if reserved.get("message"):
        return str(reserved["message"])
    if evicted.get("status") == "True":
        return f"it was evicted: {evicted.get('message', '')}"
    return "Kueue has not decided yet"
