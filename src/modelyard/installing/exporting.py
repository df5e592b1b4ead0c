"""A test of a model as a Job or a CronJob, for whoever wants a cluster to ask for it.

The pod asks the platform, as `modelyard test` does, wherever that is: it needs its address and a token, and
nothing of the model. A test that fails is a Job that failed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modelyard import __version__
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.images import CONTROL_PLANE, reference
from modelyard.backends.kubernetes.kinds import CRON_JOB, JOB, Kind, Manifest
from modelyard.backends.kubernetes.render import queueing
from modelyard.domain import gpu, naming, server
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.gpu import GpuRequest
from modelyard.installing import schedules, writing
from modelyard.installing.pods import CONTAINER_SECURITY, POD_SECURITY

_LATE_SECONDS = 600
"""A run that could not begin at its time still begins so much later."""
_START_SECONDS = 300
"""How long pulling the image may take, beside the test itself."""
_KEPT_SECONDS = 86_400
_KEPT_RUNS = 3
_EXAMPLE = "http://modelyard-door.modelyard-system:8080"
_LONGEST = 52
"""Of a CronJob's name: its Jobs append eleven characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One test, and how a cluster is to run it."""

    ref: str
    project: str
    url: str
    """Of the platform, as pods reach it."""
    secret: str
    """Has a token under the key `token`."""
    namespace: str = "default"
    name: str = ""
    image: str = ""
    data: Any = None
    """Rows or inputs; the recorded sample when there are none."""
    gpu: str = "0"
    """GPUs that the platform is to test on, such as `1` or `1(T4)`."""
    seconds: float = 120.0
    queue: str = ""
    """LocalQueue of that namespace in which Kueue has its Jobs wait; empty begins them at once."""
    schedule: str = ""
    """Empty for a Job that runs once."""
    time_zone: str = "UTC"


def as_yaml(export: Export) -> str:
    """The manifest, for `kubectl apply`. Raises Invalid that names what is wrong."""
    return writing.document(manifest(export))


def manifest(export: Export) -> Manifest:
    """The Job, or the CronJob when there is a schedule."""
    _require(export)
    once: dict[str, Any] = {"metadata": {"labels": _queued(export)}, "spec": _job(export)}
    if not export.schedule:
        once["spec"] |= {"ttlSecondsAfterFinished": _KEPT_SECONDS}
        head = _head(JOB, export)
        head["metadata"]["labels"] = _queued(export)
        return head | {"spec": once["spec"]}
    return _head(CRON_JOB, export) | {
        "spec": {
            "schedule": export.schedule,
            "timeZone": export.time_zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATE_SECONDS,
            "successfulJobsHistoryLimit": _KEPT_RUNS,
            "failedJobsHistoryLimit": _KEPT_RUNS,
            "jobTemplate": once,
        },
    }


def _job(export: Export) -> dict[str, Any]:
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return {
        **queueing.suspended(export.queue),
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [disrupted]},
        "activeDeadlineSeconds": round(export.seconds) + _START_SECONDS,
        "template": {
            "metadata": {"labels": _labels(export)},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": POD_SECURITY,
                "containers": [_container(export)],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
    }


def _container(export: Export) -> dict[str, Any]:
    data = [] if export.data is None else ["-d", json.dumps(export.data)]
    cards = ["--gpu", export.gpu] if _wants_gpu(export) else []
    token = {"secretKeyRef": {"name": export.secret, "key": "token"}}
    return {
        "name": "test",
        "image": export.image or reference(CONTROL_PLANE, tag=__version__),
        "command": ["modelyard", "test", export.ref, "--timeout", f"{export.seconds:g}s", *cards, *data],
        "env": [
            {"name": "MODELYARD_URL", "value": export.url},
            {"name": "MODELYARD_PROJECT", "value": export.project},
            {"name": "MODELYARD_TOKEN", "valueFrom": token},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }


def _head(kind: Kind, export: Export) -> Manifest:
    name = export.name or _name(export)
    metadata = {"name": name, "namespace": export.namespace, "labels": _labels(export)}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def _name(export: Export) -> str:
    """After the model; of a Job, which cannot be changed, also after all that it does."""
    model = naming.parse_model_ref(export.ref).name
    if export.schedule:
        return names.k8s_name("test", model, limit=_LONGEST)
    said = [export.ref, export.project, export.url, export.data, export.seconds]
    said += [export.gpu] if _wants_gpu(export) else []
    said += [export.queue] if export.queue else []
    return names.k8s_name("test", model, names.content_hash(json.dumps(said)), limit=_LONGEST)


def _wants_gpu(export: Export) -> bool:
    return gpu.parse(export.gpu, "--gpu") != GpuRequest()


def _labels(export: Export) -> dict[str, str]:
    """Not those of the platform's own objects, which it looks after."""
    return {"app.kubernetes.io/name": "modelyard-test", names.PROJECT: export.project}


def _queued(export: Export) -> dict[str, str]:
    """The labels of a Job: Kueue looks at its own on Jobs, and on nothing that makes them."""
    return {**_labels(export), **queueing.labels(export.queue)}


def _require(export: Export) -> None:
    naming.parse_model_ref(export.ref)
    gpu.parse(export.gpu, "--gpu")
    for option, value in (
        ("--namespace", export.namespace), ("--secret", export.secret), ("--name", export.name or "a"),
        ("--queue", export.queue or "a"), ("--project", export.project),
    ):  # fmt: skip
        naming.require_name(value, option)
    if len(export.name) > _LONGEST:
        _refuse("--name", f"has {len(export.name)} characters; a CronJob's may have {_LONGEST}")
    if export.image and not server.IMAGE.fullmatch(export.image):
        _refuse("--image", "is not the name of an image; write it as `registry/name:tag`")
    _require_url(export.url)
    if export.schedule:
        schedules.require(export.schedule, export.time_zone)


def _require_url(url: str) -> None:
    try:
        found = urlsplit(url)
        usable = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # a bracket that is not closed, or a port that is none
        usable = False
    if not usable:
        _refuse("--url", f"{url!r} is no address; write such as `{_EXAMPLE}`")
    if found.username or found.password:
        _refuse("--url", "has a user or a password, which would stand in the Job; the Secret has the token")


def _refuse(option: str, message: str) -> None:
    raise Invalid(f"{option}: {message}", errors=[FieldError(option, message)])
