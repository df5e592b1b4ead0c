"""A task as a Job that runs once, on a node for computing, with everything it reads in one Secret."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard.backends import documents
from modelyard.backends.base import Task, TaskKind
from modelyard.backends.delivery import Grant
from modelyard.backends.kubernetes import names, priorities
from modelyard.backends.kubernetes.forms import coded
from modelyard.backends.kubernetes.gpus.fragment import Fragment
from modelyard.backends.kubernetes.gpus.merging import with_gpus
from modelyard.backends.kubernetes.kinds import JOB, RESOURCE_CLAIM_TEMPLATE, SECRET, Kind, Manifest
from modelyard.backends.kubernetes.render import (
    delivery,
    environment,
    networks,
    pod,
    queueing,
    references,
    runtime,
)
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.model import File
from modelyard.domain.variant import Optimize

_FETCH_SECONDS = 900
"""How long the model may take to arrive, beside the task's own time."""
_COMPARE_SECONDS = 2400
"""The same for one on a volume, all of which is read: as long as it took to be described at first."""
KEPT_SECONDS = 300
"""How long a finished Job stays when nobody is left to remove it."""
MOST_STORED = 256 << 20
"""Bytes that a task may store."""
CONTAINER = "task"
_DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
"""A pod whose place the cluster took away is no try: another one takes its turn."""
WHEELS = ".modelyard/wheels/"
"""In front of the names of wheels among what a task is granted; no model's file can be there."""
REQUEST_FOLDER = ".modelyard-request"
LENT_REQUEST = f"{REQUEST_FOLDER}/request.json"
"""Where a long request comes to, below the model's folder."""
_OUT = f"{environment.WORK}/out"
_MADE = f"{environment.WORK}/made"
_TASK = f"{environment.PLATFORM}/task"
_CHECKED = "check.json"
_SURVEY = "modelyard.formats.survey"
"""Module of the image that says what a volume holds."""


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
    gpus: Fragment = field(default_factory=Fragment)
    """What its pod gets of GPUs, or what hides them from it."""

    lends: bool = False
    """Whether the platform lends the wheels of these packages; else the pod asks an index."""

    queue: str = ""
    """The LocalQueue that its Job waits in; empty begins it at once."""

    waits_until: float = 0.0
    """Until when its Job may wait there unless that is put off, seconds since the epoch."""

    @property
    def lends_request(self) -> bool:
        """Whether what is asked is among the granted files, being too long for a Secret."""
        return any(file.path == LENT_REQUEST for file in self.grant.files)

    @property
    def model_files(self) -> tuple[File, ...]:
        """Of the granted files those that come beside the model, and its own."""
        return tuple(file for file in self.grant.files if not file.path.startswith(WHEELS))

    @property
    def wheels(self) -> tuple[File, ...]:
        """Of the granted files those of the runtime's packages, by their own names."""
        found = (file for file in self.grant.files if file.path.startswith(WHEELS))
        return tuple(replace(file, path=file.path.removeprefix(WHEELS)) for file in found)

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
    grant = errand.grant
    files = delivery.lent(errand.model_files, grant.tokens)
    packages = runtime.Packages(
        lock=errand.lock,
        index_url=errand.settings.index_url,
        wheels=runtime.lent(errand.wheels, grant.base, grant.tokens) if errand.lends else None,
    )
    asked = {} if errand.lends_request else {"request.json": json.dumps(errand.task.request)}
    compared = _compared(errand)
    data: dict[str, str | bytes] = {
        delivery.MANIFEST: delivery.manifest(files, base=grant.base),
        **({_CHECKED: delivery.manifest(compared)} if compared else {}),
        "worker.json": json.dumps(_worker(errand.task)),
        **asked,
        "token": errand.grant.store_token,
        **(runtime.secret(packages) if errand.lock else {}),
    }
    manifest = _head(SECRET, errand) | {
        "type": "Opaque",
        "data": {key: coded(value) for key, value in data.items()},
    }
    return _owned(manifest, errand, job_uid)


def _compared(errand: Errand) -> delivery.Listed:
    """The files that the volume of a located model must have as they were published."""
    guest = errand.task.guest
    return [asdict(file) for file in guest.artifact.files] if guest.location else []


def prepares_within(task: Task) -> float:
    """Seconds in which the model has to be there, before the task's own time begins."""
    return _COMPARE_SECONDS if task.guest.location and task.guest.artifact.files else _FETCH_SECONDS


def claims(errand: Errand, *, job_uid: str = "") -> tuple[Manifest, ...]:
    """What its pod gets its cards by, where they are claimed; it goes with the Job too."""
    if not errand.gpus.claim:
        return ()
    manifest = _head(RESOURCE_CLAIM_TEMPLATE, errand) | {"spec": {"spec": errand.gpus.claim}}
    return (_owned(manifest, errand, job_uid),)


def _owned(manifest: Manifest, errand: Errand, job_uid: str) -> Manifest:
    if job_uid:
        owner = {"apiVersion": JOB.api_version, "kind": JOB.name, "name": errand.name, "uid": job_uid}
        manifest["metadata"]["ownerReferences"] = [owner]
    return manifest


def job(errand: Errand) -> Manifest:
    """The Job: one try, and gone a while after its end even when nobody looks."""
    template = {"metadata": {"labels": {**errand.labels, **_network(errand)}}, "spec": _pod(errand)}
    head = _head(JOB, errand)
    head["metadata"]["labels"] = {**errand.labels, **queueing.labels(errand.queue)}
    if errand.queue:
        head["metadata"]["annotations"] = waits(errand.waits_until)
    return head | {
        "spec": {
            **queueing.suspended(errand.queue),
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [_DISRUPTED]},
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": math.ceil(errand.task.timeout_seconds + prepares_within(errand.task)),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": with_gpus(template, errand.gpus, claim=errand.name),
        }
    }


def waits(until: float) -> dict[str, str]:
    """The annotation of a Job that may wait in a queue until then."""
    return {names.WAITS_UNTIL: f"{until:.0f}"}


def _network(errand: Errand) -> dict[str, str]:
    """Closed, unless the pod must fetch packages first from wherever they are, or no policy can say how."""
    asks_index = errand.lock and not errand.lends
    return {names.NETWORK: networks.CLOSED} if networks.closes(errand.settings) and not asks_index else {}


def _pod(errand: Errand) -> dict[str, Any]:
    images = runtime.images(errand.settings.images, errand.task.guest)
    packages = errand.name if errand.lock else ""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": "modelyard-runtime",
        "priorityClassName": priorities.BATCH,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "affinity": pod.affinity("compute"),
        "securityContext": pod.security(),
        "containers": [_container(errand)],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in ("work", "run", "tmp")),
            *_model_volumes(errand),
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "fetch", "secret": {"secretName": errand.name}},
            *(delivery.shared(errand.settings) if errand.model_files else []),
            *runtime.volumes(packages, lends=errand.lends),
        ],
    }
    first = _deliveries(errand)
    if first := [*first, *runtime.containers(images, packages, pod.restricted(), lends=errand.lends)]:
        spec["initContainers"] = first
    if images.pull_secret:
        spec["imagePullSecrets"] = [{"name": images.pull_secret}]
    return spec


def _deliveries(errand: Errand) -> list[dict[str, Any]]:
    """What compares or brings the model's files before anything is asked."""
    location, found = errand.task.guest.location, []
    if location and _compared(errand):
        found.append(delivery.checker(errand.settings.images, location, pod.restricted()))
    if errand.model_files:
        into = _brought_to(errand.task)
        found.append(delivery.fetcher(errand.settings, pod.restricted(), into=into))
    return found


def _brought_to(task: Task) -> str:
    """Where files are fetched to: beside the volume of a model that has one."""
    return delivery.BESIDE if task.guest.location else environment.MODELS


def _model_volumes(errand: Errand) -> list[dict[str, Any]]:
    location = errand.task.guest.location
    if location is None:
        return [{"name": "models", "emptyDir": {}}]
    found: list[dict[str, Any]] = [delivery.volume_of(location)]
    if _compared(errand):
        items = [{"key": _CHECKED, "path": delivery.MANIFEST}]
        found.append({"name": "check", "secret": {"secretName": errand.name, "items": items}})
    if errand.model_files:
        found.append({"name": "variant", "emptyDir": {}})
    return found


def _model_mounts(errand: Errand) -> list[dict[str, Any]]:
    location = errand.task.guest.location
    if location is None:
        return [{"name": "models", "mountPath": environment.MODELS, "readOnly": True}]
    if errand.task.kind == TaskKind.SURVEY:
        # Whole: a folder that is not there is said by who looks for it, where a kubelet would try for ever.
        return [delivery.mount(replace(location, folder=""))]
    variant = {"name": "variant", "mountPath": delivery.BESIDE, "readOnly": True}
    return [delivery.mount(location), *([variant] if errand.model_files else [])]


def _container(errand: Errand) -> dict[str, Any]:
    task, images = errand.task, runtime.images(errand.settings.images, errand.task.guest)
    command = [
        "python", "-m", "modelyard_worker.errand", task.kind,
        "--config", f"{_TASK}/worker.json",
        "--out", _OUT,
        "--seconds", f"{task.timeout_seconds:g}",
    ]  # fmt: skip
    if errand.lock:
        command += ["--python", runtime.interpreter(errand.lock)]
    if task.kind in (TaskKind.TEST, TaskKind.SURVEY):
        lent = f"{_brought_to(task)}/{LENT_REQUEST}"
        command += ["--request", lent if errand.lends_request else f"{_TASK}/request.json"]
    if task.kind == TaskKind.SURVEY:
        command += ["--program", _SURVEY]
    if errand.grant.store_token:
        command += ["--store", errand.grant.base, "--token", f"{_TASK}/token"]
    if task.optimize is not Optimize.OFF:
        command += ["--made", _MADE]
    requests: dict[str, str] = {"cpu": "500m"}
    limits: dict[str, str] = {}
    if task.memory_bytes:
        requests["memory"] = limits["memory"] = str(task.memory_bytes)
    return {
        "name": CONTAINER,
        "image": images.serving,
        "imagePullPolicy": images.pull_policy,
        "command": command,
        "workingDir": environment.WORK,
        "env": [{"name": name, "value": value} for name, value in _variables(errand).items()],
        "resources": {"requests": requests, **({"limits": limits} if limits else {})},
        "securityContext": pod.restricted(),
        "volumeMounts": [
            {"name": "work", "mountPath": environment.WORK},
            {"name": "run", "mountPath": environment.RUN},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
            *_model_mounts(errand),
            {"name": "fetch", "mountPath": _TASK, "readOnly": True},
            *([runtime.mount()] if errand.lock else []),
        ],
    }


def _worker(task: Task) -> dict[str, Any]:
    home, location = Path(environment.MODELS), task.guest.location
    if location and task.kind == TaskKind.SURVEY:
        home /= location.folder
    beside = Path(delivery.BESIDE) if location else home / delivery.VARIANT
    guest = replace(task.guest, path=home, variant_path=beside)
    document = delivery.known(documents.of_worker(guest, threads=1))
    if task.optimize is not Optimize.OFF:
        document["optimize"] = {"wanted": task.optimize.value, "directory": _MADE}
    return document


def _variables(errand: Errand) -> dict[str, str]:
    task = errand.task
    guest = {n: references.expanded(v) for n, v in task.guest.env.items() if n != "MODELYARD_MODEL_PATH"}
    hidden = {} if task.wanted.count else {"NVIDIA_VISIBLE_DEVICES": "none", "CUDA_VISIBLE_DEVICES": ""}
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
        # Taken out again before the model runs: not on the command line, which everything below it can read.
        "MODELYARD_ERRAND_MARKER": errand.marker,
    }


def _head(kind: Kind, errand: Errand) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": errand.name, "namespace": errand.namespace, "labels": errand.labels},
    }
