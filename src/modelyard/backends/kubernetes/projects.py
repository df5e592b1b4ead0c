"""What a project must have in the cluster before anything of it can run there."""

from __future__ import annotations

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import NAMESPACE, SECRET, Manifest
from modelyard.backends.kubernetes.render.credentials import pull_secret
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.revision import account_of, namespace_of
from modelyard.domain.errors import Invalid, NotFound


async def prepare(cluster: Cluster, settings: Settings, project: str) -> None:
    """Make the project's namespace and the account of its pods, where they are not there yet."""
    wanted = namespace_of(project, settings.namespace(project))
    if not await _is_there(cluster, wanted):
        await cluster.apply(wanted)
    await cluster.apply(account_of(project, settings.namespace(project)))


async def lend_credentials(cluster: Cluster, settings: Settings, project: str) -> None:
    """Copy the registry's credentials into the project, as they are now; nothing where none are needed.

    Raises Invalid when the platform's namespace does not have them.
    """
    name, system = settings.images.pull_secret, settings.system_namespace
    if not name:
        return
    try:
        source = await cluster.get(SECRET, name, namespace=system)
    except NotFound:
        message = f"kubernetes.pull_secret: the namespace {system} has no Secret {name}; make it there"
        raise Invalid(message) from None
    await cluster.apply(pull_secret(source, project, settings.namespace(project)))


async def _is_there(cluster: Cluster, wanted: Manifest) -> bool:
    """Whether the namespace is there and ours: one that somebody else made becomes ours by applying it."""
    try:
        found = await cluster.get(NAMESPACE, wanted["metadata"]["name"])
    except NotFound:
        return False
    labels = found["metadata"].get("labels") or {}
    return bool(wanted["metadata"]["labels"].items() <= labels.items())
