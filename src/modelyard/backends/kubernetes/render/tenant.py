"""What a project's namespace keeps beside its replicas: a fence around its quota, and what counts for what.

The platform divides a quota by itself, and says why it leaves no more. The cluster's ResourceQuota stands
behind it, for what others make in the namespace by hand.
"""

from __future__ import annotations

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import MIG, SHARED, Gpus
from modelyard.backends.kubernetes.kinds import LIMIT_RANGE, RESOURCE_QUOTA, Kind, Manifest
from modelyard.domain.quota import Quota

QUOTA = "modelyard-quota"
DEFAULTS = "modelyard-defaults"
_BESIDE = 2
"""Times the quota: while one revision takes over from another, all of the old one may still stand or end."""
_TASKS = 8
"""Pods that try models, which no quota of the platform counts."""
_TASK_CPU_MILLIS = 500
_TASK_MEMORY = 512 << 20
_CARDS = ("nvidia.com/gpu", SHARED, "volcano.sh/vgpu-number")
"""What one card or a part of one is called; a part counts as a card."""


def fence(project: str, namespace: str, quota: Quota, gpus: Gpus) -> Manifest | None:
    """The ResourceQuota: room for what the platform itself may start, and an end to the rest."""
    bounds = quota.bounds()
    if not bounds:
        return None
    hard: dict[str, str] = {}
    if "cpu" in bounds:
        hard["requests.cpu"] = f"{_BESIDE * bounds['cpu'] + _TASKS * _TASK_CPU_MILLIS}m"
    if "memory" in bounds:
        hard["requests.memory"] = str(_BESIDE * bounds["memory"] + _TASKS * _TASK_MEMORY)
    if "gpus" in bounds:
        hard |= dict.fromkeys(_cards(gpus), str(_BESIDE * bounds["gpus"]))
    if "replicas" in bounds:
        hard["pods"] = str(_BESIDE * bounds["replicas"] + _TASKS)
    return _head(RESOURCE_QUOTA, QUOTA, project, namespace) | {"spec": {"hard": hard}}


def defaults(project: str, namespace: str, quota: Quota) -> Manifest | None:
    """The LimitRange: what a container counts for that asks for nothing, where a quota counts; else None.

    It limits nothing: nobody is ended for having used more than was never said.
    """
    if not quota.bounds().keys() & {"cpu", "memory"}:
        return None
    asked = {"cpu": "100m", "memory": "256Mi"}
    return _head(LIMIT_RANGE, DEFAULTS, project, namespace) | {
        "spec": {"limits": [{"type": "Container", "defaultRequest": asked}]}
    }


def _cards(gpus: Gpus) -> list[str]:
    """Every name that GPUs are asked for by in this cluster, as a quota writes it."""
    devices = sorted(each for each in gpus.resources if each in _CARDS or each.startswith(MIG))
    claimed = sorted(gpus.device_classes)
    return [
        *(f"requests.{each}" for each in devices or _CARDS[:1]),
        *(f"{each}.deviceclass.resource.k8s.io/devices" for each in claimed),
    ]


def _head(kind: Kind, name: str, project: str, namespace: str) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
    }
