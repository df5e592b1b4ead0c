"""The kinds of work that reconcilers do, and how their keys are written in the queue."""

from __future__ import annotations

from modelyard.domain.deployment import Key

DEPLOYMENT = "deployment"
RUNTIME = "runtime"
VALIDATION = "validation"
GATEWAY = "gateway"
ORPHANS = "orphans"
RETENTION = "retention"
SCALING = "scaling"
"""How many replicas a deployment should have, by load and clock."""
CAPACITY = "capacity"
"""Who may have how many while there is not enough for all."""
SAMPLING = "sampling"
PROJECT = "project"
"""What a backend keeps of a project beside its replicas."""
CERTIFICATE = "certificate"

ALL = "all"
"""Key of the kinds that exist once."""

GATEWAY_FAILURE = "gateway.failure"
"""Fact: reason and message why the gateway does not run, empty while it does."""
GATEWAY_INTENDED = "gateway.intended"
"""Fact: names of the replicas that a published or coming configuration of the gateway may hold."""
GATEWAY_UNOPENED = "gateway.unopened"
"""Fact: `project/service` to why a port of its own could not be opened, as JSON."""
GATEWAY_REFUSED = "gateway.refused"
"""Fact: `project/service` to why a gateway of the cluster does not take its route up, as JSON."""
CERTIFICATE_WARNED = "certificate.warned"
"""Fact: what was said last about the certificate."""
GATEWAY_PUBLISHER = "gateway.publisher"
"""Fact: the control plane that published last."""


def deployment_key(text: str) -> Key:
    """Read what `str(Key)` writes."""
    return Key.parse(text)


def runtime_key(project: str, name: str) -> str:
    """Key of a runtime in the queue."""
    return f"{project}/{name}"


def version_key(project: str, model: str, version: str) -> str:
    """Key of a version whose validation waits for its runtime."""
    return f"{project}/{model}@{version}"


def split(text: str) -> tuple[str, str]:
    """The project and the rest of a key."""
    project, _, rest = text.partition("/")
    return project, rest
