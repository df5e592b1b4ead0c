"""An environment that is made when the pod starts, as no image has it: an init container and a volume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.backends.base import Guest
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.render import environment
from modelyard.backends.kubernetes.render.desired import Images
from modelyard.domain.model import File

LOCK = "requirements.lock"
INDEX = "index"
WHEELS = "wheels.json"
"""Which wheels the platform lends; it is there when pods ask no index."""
_HOME = f"{environment.RUNTIME}/environment"
_LAID = f"{environment.PLATFORM}/packages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What an environment is made of, and where from."""

    lock: str
    """Packages with their hashes."""
    index_url: str = ""
    """May hold a password; empty is the public index."""
    wheels: tuple[dict[str, Any], ...] | None = None
    """Files that the platform lends, each with its address and what opens it; None is the index."""


def lent(wheels: Iterable[File], base: str, tokens: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """Wheels as the init container finds them at the platform."""
    url = base.rstrip("/")
    return tuple(
        {**asdict(file), "url": f"{url}/{file.sha256}", "token": tokens.get(file.sha256, "")}
        for file in wheels
    )


def secret(packages: Packages) -> dict[str, str]:
    """What the init container is told: in a Secret, because addresses and wheels have their passwords."""
    told = {LOCK: packages.lock}
    if packages.wheels is not None:
        told[WHEELS] = json.dumps({"files": list(packages.wheels)})
    elif packages.index_url:
        told[INDEX] = packages.index_url
    return told


def interpreter(lock: str) -> str:
    """The Python that loads the model; empty is that of the image."""
    return f"{_HOME}/bin/python" if lock else ""


def images(chosen: Images, guest: Guest) -> Images:
    """The images for a guest: its runtime may have one of its own in place of the platform's server."""
    return replace(chosen, serving=guest.image) if guest.image else chosen


def containers(
    images: Images, packages: str, security: dict[str, Any], *, lends: bool
) -> list[dict[str, Any]]:
    """Makes the environment in the server's own image, whose Python it is for.

    Of the wheels that the platform lends, as the Secret `packages` lists them, or from an index.
    """
    if not packages:
        return []
    index = {"secretKeyRef": {"name": packages, "key": INDEX, "optional": True}}
    asked = [{"name": name, "valueFrom": index} for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")]
    return [
        {
            "name": names.ENVIRONMENT,
            "image": images.serving,
            "imagePullPolicy": images.pull_policy,
            "command": ["python", "-m", "modelyard_fetch", "environment"],
            "args": [
                "--requirements", f"{_LAID}/{LOCK}",
                *(["--wheels-from", f"{_LAID}/{WHEELS}"] if lends else []),
                "--into", _HOME,
                "--last-words", "/dev/termination-log",
            ],
            "env": [
                {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
                *([] if lends else asked),
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


def volumes(packages: str, *, lends: bool) -> list[dict[str, Any]]:
    """The environment's volume and what is told to who makes it, and nothing else of the Secret."""
    if not packages:
        return []
    keys = [LOCK, *([WHEELS] if lends else [])]
    told = {"secretName": packages, "items": [{"key": key, "path": key} for key in keys]}
    return [{"name": "runtime", "emptyDir": {}}, {"name": "packages", "secret": told}]
