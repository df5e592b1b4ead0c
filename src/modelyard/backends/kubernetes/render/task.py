"""A task as a Job that runs once, on a node for computing, with everything it reads in one Secret."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.backends import documents
from modelyard.backends.base import Task, TaskKind
from modelyard.backends.delivery import Grant
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import JOB, SECRET, Kind, Manifest
from modelyard.backends.kubernetes.render import environment, networks, pod, runtime
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.variant import Optimize

FETCH_SECONDS = 900
"""How long the model may take to arrive, beside the task's own time."""
KEPT_SECONDS = 300
"""How long a finished Job stays when nobody is left to remove it."""
MOST_STORED = 256 << 20
"""Bytes that a task may store."""
CONTAINER = "task"
VARIANT = ".variant"
_OUT = f"{environment.WORK}/out"
_MADE = f"{environment.WORK}/made"
_TASK = f"{environment.PLATFORM}/task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One task as it is to run."""

    task: Task
    name: str
    """Of the Job and of its Secret."""
    namespace: str
    project: str
    marker: str
    """Begins the lines of the log that tell the outcome."""
    grant: Grant
    settings: Settings
    lock: str = ""
    """Packages of the runtime with their hashes, when the image does not have them."""

    @property
    def labels(self) -> dict[str, str]:
        """What its objects carry; no deployment's."""
        return {
            names.MANAGED_BY: names.MANAGER,
            names.PROJECT: self.project,
            names.WORKLOAD: "test",
            names.TASK: self.name,
        }


def secret(errand: Errand, *, job_uid: str = "") -> Manifest:
    """What the pod reads: the list of files, the guest's configuration, the question, and the store's token.

    Once the Job is known it owns the Secret, so that the two go together.
    """
    files = [
        {
            **asdict(file),
            "url": f"{errand.grant.base.rstrip('/')}/{file.sha256}",
            "token": errand.grant.tokens.get(file.sha256, ""),
        }
        for file in errand.grant.files
    ]
    data = {
        "manifest.json": json.dumps({"files": files}),
        "worker.json": json.dumps(_worker(errand.task)),
        "request.json": json.dumps(errand.task.request),
        "token": errand.grant.store_token,
        **(runtime.secret(errand.lock, errand.settings.index_url) if errand.lock else {}),
    }
    manifest = _head(SECRET, errand) | {
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
    if job_uid:
        owner = {"apiVersion": JOB.api_version, "kind": JOB.name, "name": errand.name, "uid": job_uid}
        manifest["metadata"]["ownerReferences"] = [owner]
    return manifest


def job(errand: Errand) -> Manifest:
    """The Job: one try, and gone a while after its end even when nobody looks."""
    seconds = math.ceil(errand.task.timeout_seconds)
    return _head(JOB, errand) | {
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": seconds + FETCH_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": {**errand.labels, **_network(errand)}}, "spec": _pod(errand)},
        }
    }


def _network(errand: Errand) -> dict[str, str]:
    """Closed, unless the pod must fetch packages first from wherever they are, or no policy can say how."""
    return {names.NETWORK: networks.CLOSED} if networks.closes(errand.settings) and not errand.lock else {}


def _pod(errand: Errand) -> dict[str, Any]:
    images, gpus = errand.settings.images, len(errand.task.gpus)
    packages = errand.name if errand.lock else ""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": "modelyard-runtime",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "affinity": pod.affinity("compute"),
        "securityContext": pod.security(),
        "containers": [_container(errand)],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in ("work", "run", "tmp", "models")),
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "fetch", "secret": {"secretName": errand.name}},
            *runtime.volumes(packages),
        ],
    }
    first = [pod.fetcher(images)] if errand.grant.files else []
    if first := [*first, *runtime.containers(images, packages, pod.restricted())]:
        spec["initContainers"] = first
    if gpus:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if images.pull_secret:
        spec["imagePullSecrets"] = [{"name": images.pull_secret}]
    return spec


def _container(errand: Errand) -> dict[str, Any]:
    task, images = errand.task, errand.settings.images
    command = [
        "python", "-m", "modelyard_worker.errand", task.kind,
        "--config", f"{_TASK}/worker.json",
        "--out", _OUT,
        "--seconds", f"{task.timeout_seconds:g}",
        "--marker", errand.marker,
    ]  # fmt: skip
    if errand.lock:
        command += ["--python", runtime.interpreter(errand.lock)]
    if task.kind == TaskKind.TEST:
        command += ["--request", f"{_TASK}/request.json"]
    if errand.grant.store_token:
        command += ["--store", errand.grant.base, "--token", f"{_TASK}/token"]
    if task.optimize is not Optimize.OFF:
        command += ["--made", _MADE]
    requests: dict[str, str] = {"cpu": "500m"}
    limits: dict[str, str] = {}
    if task.memory_bytes:
        requests["memory"] = limits["memory"] = str(task.memory_bytes)
    if task.gpus:
        limits["nvidia.com/gpu"] = str(len(task.gpus))
    return {
        "name": CONTAINER,
        "image": images.serving,
        "imagePullPolicy": images.pull_policy,
        "command": command,
        "workingDir": environment.WORK,
        "env": [{"name": name, "value": value} for name, value in _variables(task).items()],
        "resources": {"requests": requests, **({"limits": limits} if limits else {})},
        "securityContext": pod.restricted(),
        "volumeMounts": [
            {"name": "work", "mountPath": environment.WORK},
            {"name": "run", "mountPath": environment.RUN},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
            {"name": "models", "mountPath": environment.MODELS, "readOnly": True},
            {"name": "fetch", "mountPath": _TASK, "readOnly": True},
            *([runtime.mount()] if errand.lock else []),
        ],
    }


def _worker(task: Task) -> dict[str, Any]:
    home = Path(environment.MODELS)
    guest = replace(task.guest, path=home, variant_path=home / VARIANT)
    document = documents.of_worker(guest, threads=1)
    if task.optimize is not Optimize.OFF:
        document["optimize"] = {"wanted": task.optimize.value, "directory": _MADE}
    return document


def _variables(task: Task) -> dict[str, str]:
    guest = {n: v for n, v in task.guest.env.items() if n != "MODELYARD_MODEL_PATH"}
    hidden = {} if task.gpus else {"NVIDIA_VISIBLE_DEVICES": "none", "CUDA_VISIBLE_DEVICES": ""}
    return {
        **guest,
        "MODELYARD_MODEL_PATH": environment.MODELS,
        "HOME": environment.WORK,
        "TMPDIR": "/tmp",  # noqa: S108 - the pod's own
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
        **hidden,
    }


def _head(kind: Kind, errand: Errand) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": errand.name, "namespace": errand.namespace, "labels": errand.labels},
    }
