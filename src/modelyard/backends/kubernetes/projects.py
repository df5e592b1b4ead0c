"""What a project must have in the cluster before anything of it can run there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Gpus
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import (
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    RESOURCE_QUOTA,
    SECRET,
    Kind,
    Manifest,
)
from modelyard.backends.kubernetes.render import networks, tenant
from modelyard.backends.kubernetes.render.credentials import pull_secret
from modelyard.backends.kubernetes.render.delivery import claim_of
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.revision import account_of, namespace_of
from modelyard.domain.errors import Invalid, NotFound
from modelyard.domain.network import Network
from modelyard.domain.quota import Quota


async def prepare(cluster: Cluster, settings: Settings, project: str) -> None:
    """Make the project's namespace and the account of its pods, where they are not there yet."""
    wanted = namespace_of(project, settings.namespace(project))
    if not await _is_there(cluster, wanted):
        await cluster.apply(wanted)
    await cluster.apply(account_of(project, settings.namespace(project)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is wanted of a project beside its replicas."""

    quota: Quota = field(default_factory=Quota)
    network: Network = field(default_factory=Network)


async def settle(cluster: Cluster, settings: Settings, project: str, wish: Bounds, gpus: Gpus) -> None:
    """Make the fence around a quota and the rules of the network what they are to be now, or remove them.

    A project that nothing has come to yet has neither namespace nor policy, unless it has a quota or is
    isolated.
    """
    namespace = settings.namespace(project)
    if wish.quota.bounds() or wish.network.isolated:
        await prepare(cluster, settings, project)
    elif not await _is_there(cluster, namespace_of(project, namespace)):
        return
    closing = networks.policy(project, namespace, settings) if networks.closes(settings) else None
    # The network first: what else is refused must not leave it open.
    wanted: dict[Kind, tuple[Manifest | None, ...]] = {
        NETWORK_POLICY: (closing, networks.isolation(project, namespace, settings, wish.network)),
        RESOURCE_QUOTA: (tenant.fence(project, namespace, wish.quota, gpus),),
        LIMIT_RANGE: (tenant.defaults(project, namespace, wish.quota),),
    }
    for kind, manifests in wanted.items():
        await _bring(cluster, kind, namespace, [each for each in manifests if each is not None])


async def _bring(cluster: Cluster, kind: Kind, namespace: str, wanted: Sequence[Manifest]) -> None:
    """Of our objects of a kind, have these and no others."""
    ours = f"{names.MANAGED_BY}={names.MANAGER}"
    there = (await cluster.list(kind, namespace=namespace, labels=ours)).items
    for manifest in wanted:
        if not any(_says(each, manifest) for each in there):
            await cluster.apply(manifest)
    kept = {manifest["metadata"]["name"] for manifest in wanted}
    for name in (each["metadata"]["name"] for each in there):
        if name not in kept:
            await cluster.delete(kind, name, namespace=namespace)


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


async def share_cache(cluster: Cluster, settings: Settings, project: str) -> None:
    """Make the claim in which the project's fetchers share files, if there is to be one and it is not there.

    One that is there stays as it is: most of a claim cannot be changed, and what can, others decide.
    """
    if settings.cache is None:
        return
    namespace = settings.namespace(project)
    try:
        await cluster.get(PERSISTENT_VOLUME_CLAIM, names.CACHE, namespace=namespace)
    except NotFound:
        await cluster.apply(claim_of(project, namespace, settings.cache))


def _says(live: Manifest, wanted: Manifest) -> bool:
    """Whether an object says what it is to say; one that the cluster words otherwise is applied again."""
    return bool(live["metadata"]["name"] == wanted["metadata"]["name"] and live["spec"] == wanted["spec"])


async def _is_there(cluster: Cluster, wanted: Manifest) -> bool:
    """Whether the namespace is there and ours: one that somebody else made becomes ours by applying it."""
    try:
        found = await cluster.get(NAMESPACE, wanted["metadata"]["name"])
    except NotFound:
        return False
    labels = found["metadata"].get("labels") or {}
    return bool(wanted["metadata"]["labels"].items() <= labels.items())
