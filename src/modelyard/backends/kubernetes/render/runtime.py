"""An environment that is made when the pod starts, as no image has it: an init container and a volume."""

from __future__ import annotations

from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.render import environment
from modelyard.backends.kubernetes.render.desired import Images

LOCK = "requirements.lock"
INDEX = "index"
_HOME = f"{environment.RUNTIME}/environment"
_LAID = f"{environment.PLATFORM}/packages"


def secret(lock: str, index_url: str) -> dict[str, str]:
    """What the init container is told: in a Secret, because the index's address may hold a password."""
    return {LOCK: lock, **({INDEX: index_url} if index_url else {})}


def interpreter(lock: str) -> str:
    """The Python that loads the model; empty is that of the image."""
    return f"{_HOME}/bin/python" if lock else ""


def containers(images: Images, packages: str, security: dict[str, Any]) -> list[dict[str, Any]]:
    """Makes the environment in the server's own image, whose Python it is for."""
    if not packages:
        return []
    index = {"secretKeyRef": {"name": packages, "key": INDEX, "optional": True}}
    return [
        {
            "name": names.ENVIRONMENT,
            "image": images.serving,
            "imagePullPolicy": images.pull_policy,
            "command": ["python", "-m", "modelyard_fetch", "environment"],
            "args": [
                "--requirements", f"{_LAID}/{LOCK}",
                "--into", _HOME,
                "--last-words", "/dev/termination-log",
            ],
            "env": [
                {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
                {"name": "UV_DEFAULT_INDEX", "valueFrom": index},
                {"name": "PIP_INDEX_URL", "valueFrom": index},
            ],
            "resources": {
                "requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"memory": "1Gi"},
            },
            "securityContext": security,
            "volumeMounts": [
                {"name": "runtime", "mountPath": environment.RUNTIME},
                {"name": "packages", "mountPath": _LAID, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            ],
        }
    ]  # fmt: skip


def mount() -> dict[str, Any]:
    """Where the server finds the environment."""
    return {"name": "runtime", "mountPath": environment.RUNTIME, "readOnly": True}


def volumes(packages: str) -> list[dict[str, Any]]:
    """The environment's volume and what is told to who makes it."""
    if not packages:
        return []
    lock = {"secretName": packages, "items": [{"key": LOCK, "path": LOCK}]}
    return [{"name": "runtime", "emptyDir": {}}, {"name": "packages", "secret": lock}]
