"""Which Secrets of a project's namespace its replicas may mount by name: those that its people made."""

from __future__ import annotations

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.kinds import SECRET, Manifest
from modelyard.backends.kubernetes.render.desired import Desired
from modelyard.domain.errors import BackendError, FieldError
from modelyard.domain.mounts import MountKind

_ACCOUNT = "kubernetes.io/service-account.name"
"""Annotation of a Secret with a token for the cluster's API: whose it is."""


async def require(cluster: Cluster, desired: Desired) -> None:
    """Nothing when every Secret may be read; one that is not there yet is waited for by the pod.

    The project's own secrets are not looked for. Only metadata is asked for. Raises BackendError that names
    the mount.
    """
    launch, namespace = desired.launch, desired.namespace
    reserved = desired.settings.images.pull_secret  # the platform's own, sooner or later
    for number, mount in enumerate(launch.spec.mounts):
        if mount.kind is not MountKind.SECRET or mount.source in launch.secrets:
            continue
        there = await _found(cluster, namespace, mount.source)
        if why := _ours(mount.source) if mount.source == reserved else _refusal(mount.source, there):
            path = f"spec.mounts[{number}].source"
            raise BackendError(
                f"{path}: {why}", errors=[FieldError(path, why)], retryable=False, reason="MountFailed"
            )


async def _found(cluster: Cluster, namespace: str, name: str) -> Manifest | None:
    """The metadata of the Secret of that name."""
    wanted = Selection(kind=SECRET, namespace=namespace, fields=f"metadata.name={name}", metadata_only=True)
    return next(iter((await cluster.listing(wanted)).items), None)


def _refusal(name: str, there: Manifest | None) -> str:
    """Why nobody may mount it; empty for one that may be mounted."""
    metadata = there["metadata"] if there else {}
    if (metadata.get("labels") or {}).get(names.MANAGED_BY) == names.MANAGER:
        return _ours(name)
    if account := (metadata.get("annotations") or {}).get(_ACCOUNT):
        return (
            f"the Secret {name} is a token of the account {account} for the cluster itself, which no model "
            "is given; make a Secret with what the model needs"
        )
    return ""


def _ours(name: str) -> str:
    return f"the Secret {name} belongs to the platform, or to another deployment; make one of your own"
