"""What our objects are called in the cluster, and how ours are told from others'."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.domain.deployment import Key, Stage

MANAGER = "modelyard"
"""Field manager of everything but the number of replicas."""
SCALE_MANAGER = "modelyard-scale"
"""Field manager of the number of replicas, which an autoscaler may take over."""

MANAGED_BY = "app.kubernetes.io/managed-by"
PROJECT = "modelyard.dev/project"
SERVICE = "modelyard.dev/service"
STAGE = "modelyard.dev/stage"
REVISION = "modelyard.dev/revision"
REPLICA = "modelyard.dev/replica"
"""Annotation of a pod: which wanted replica it is."""
TAKES_REQUESTS = "modelyard.dev/takes-requests"
"""Label of a pod; its Service selects on it, so that a draining pod gets nothing new."""
WORKLOAD = "modelyard.dev/workload"
"""Label of a pod: `service`, `test`, `batch` and the like; network policies select on it."""

NETWORK = "modelyard.dev/network"
"""Label of a pod: `closed` when it reaches nothing but what lends it its files."""
TENANT = "modelyard.dev/tenant"
"""Label of a project's namespace; routes of such may use the gateway."""
ANCHOR = "modelyard.dev/anchor"
"""Label of the ConfigMap that everything of a deployment belongs to."""

REPLICAS = "modelyard.dev/replicas"
"""Annotation of a Deployment: the wanted replicas' names, JSON."""
LAUNCH = "modelyard.dev/launch"
"""Annotation of a Deployment: what observing needs to know of the launch, JSON."""
SCALED_BY = "modelyard.dev/scaled-by"
"""Annotation of a Deployment: the kind of what decides the number of its pods; absent while we do."""
SPEC_HASH = "modelyard.dev/spec-hash"
"""Annotation: the digest of what was rendered, so that equal wishes are applied once."""
TASK = "modelyard.dev/task"
"""Label of a Job and of what belongs to it."""
WAITS_UNTIL = "modelyard.dev/waits-until"
"""Annotation of a Job in a queue, seconds since the epoch: if it still waits then, nobody asks for it."""
APPLIED = "modelyard.dev/applied"
"""Annotation of a Deployment: what was applied for its revision, so that it can be put back."""
DRAINING_SINCE = "modelyard.dev/draining-since"
"""Annotation of a pod: since when it is leaving, seconds since the epoch."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

SERVER = "server"
"""The container that answers."""
FETCH = "model-fetch"
"""The init container that brings the model's files."""
CHECK = "model-check"
"""The init container that compares the model's files where a volume has them."""
ENVIRONMENT = "environment"
"""The init container that makes a runtime's environment."""
CACHE = "modelyard-cache"
"""The claim of a project that its fetchers share."""
PORT = 8080
"""Where Modelyard's own server listens in a pod."""

_LIMIT = 63


def k8s_name(*parts: str, limit: int = _LIMIT) -> str:
    """One name of the parts with hyphens between, fit for every kind (DNS-1035, at most `limit` characters).

    What had to be changed or cut ends with a digest of the parts, so that different parts differ still.
    """
    text = "-".join(parts)
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    if plain and not plain[0].isalpha():
        plain = f"m-{plain}"
    if plain and plain == text and len(plain) <= limit:
        return plain
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{plain[: limit - 9].rstrip('-') or 'm'}-{digest}"


def namespace(project: str, *, prefix: str, system: str) -> str:
    """Where a project's objects live: `modelyard-vision`; never the platform's own namespace.

    A project that would have that one gets `modelyard--system`: no project's name begins with a hyphen, so
    that no other one can have it too.
    """
    name = k8s_name(prefix, project)
    return k8s_name(prefix, "", project) if name == system else name


def deployment_label(key: Key) -> str:
    """The name that objects of a deployment begin with.

    A stage stands in front, and a digest behind it: `test-churn` may well be a name of its own.
    """
    if key.stage is Stage.PRODUCTION:
        return k8s_name(key.name, limit=40)
    digest = hashlib.sha256(str(key).encode()).hexdigest()[:6]
    return k8s_name(f"{key.stage.value}-{key.name}"[:33].rstrip("-"), digest, limit=40)


def revision_name(key: Key, number: int) -> str:
    """What the Deployment and the Service of a revision are called: `churn-r7`."""
    return f"{deployment_label(key)}-r{number}"


def anchor_name(key: Key) -> str:
    """The ConfigMap that everything of a deployment belongs to."""
    return f"modelyard-svc-{deployment_label(key)}"


def labels(key: Key, revision: int = 0) -> dict[str, str]:
    """What objects of a deployment carry, or of one of its revisions.

    Values may have 63 characters, which a name with a stage can exceed: it is in SERVICE without the stage.
    """
    found = {
        MANAGED_BY: MANAGER,
        PROJECT: key.project,
        SERVICE: key.name,
        STAGE: key.stage.value,
    }
    return found | ({REVISION: f"r{revision}"} if revision else {})


def key_of(found: Mapping[str, str]) -> Key | None:
    """The deployment that labels speak of; None when they are not ours."""
    project, name, stage = (found.get(label, "") for label in (PROJECT, SERVICE, STAGE))
    if found.get(MANAGED_BY) != MANAGER or not project or not name or stage not in tuple(Stage):
        return None
    return Key(project, name, Stage(stage))


def is_ours(manifest: Mapping[str, Any], home: Callable[[str], str]) -> bool:
    """Whether an object of a project's is this installation's; `home` says where a project lives.

    What lies elsewhere is of another installation in the same cluster, or somebody copied labels. To take it
    for ours would end it, as nothing here asks for it.
    """
    metadata = manifest["metadata"]
    found = metadata.get("labels") or {}
    project = found.get(PROJECT, "")
    return found.get(MANAGED_BY) == MANAGER and bool(project) and metadata.get("namespace") == home(project)


def revision_of(found: Mapping[str, str]) -> int:
    """The revision that labels speak of; 0 when they speak of none."""
    text = found.get(REVISION, "").removeprefix("r")
    return int(text) if text.isdecimal() else 0


def selector(found: Mapping[str, str]) -> str:
    """Labels as a selector of the API."""
    return ",".join(f"{name}={value}" for name, value in found.items())


def content_hash(text: str) -> str:
    """A short digest of what an object holds, for its name."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
