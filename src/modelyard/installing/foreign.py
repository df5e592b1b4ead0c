"""What else is in a namespace: what is neither ours nor the cluster's own, so that it stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.kinds import Kind, Manifest
from modelyard.domain.errors import BackendError, ModelyardError, NotFound
from modelyard.installing.foundation import INSTALLER

OURS = (INSTALLER, names.MANAGER)
"""What says of an object that we made it."""
_OF_THE_CLUSTER = {
    ("configmaps", "kube-root-ca.crt"),
    ("serviceaccounts", "default"),
    ("leases.coordination.k8s.io", "modelyard"),
}
"""What a cluster puts into every namespace, and our own lease, which has no labels."""
_SHADOWS = ("events", "endpoints", "endpointslices")
"""What only tells of other objects."""
_NOT_LISTED = "ClusterRefused"
_READ_ONLY = ("metrics.k8s.io", "authorization.k8s.io", "authentication.k8s.io")


async def within(cluster: Cluster, namespaces: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Objects of these namespaces that are somebody else's, as `kind name`, by namespace.

    What cannot be looked at may be in each of them.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for kind in await _kinds(cluster) if namespaces else ():
        try:
            listed = await _listed(cluster, kind)
        except ModelyardError as error:
            for namespace in namespaces:
                found[namespace].append(f"perhaps {kind.qualified}, which cannot be listed ({error.message})")
            continue
        for each in listed:
            namespace = str(each["metadata"].get("namespace") or "")
            if namespace in namespaces and not is_ours(kind, each):
                found[namespace].append(f"{kind.plural} {each['metadata']['name']}")
    return {namespace: tuple(sorted(objects)) for namespace, objects in found.items()}


def is_ours(kind: Kind, manifest: Manifest) -> bool:
    """Whether an object is ours, or goes with another one, or is the cluster's own."""
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    known = (kind.qualified, metadata["name"]) in _OF_THE_CLUSTER
    return known or bool(metadata.get("ownerReferences")) or labels.get(names.MANAGED_BY) in OURS


async def _kinds(cluster: Cluster) -> list[Kind]:
    """Everything that may be in a namespace, whatever was installed into the cluster."""
    served = sorted(await cluster.resources())
    kinds: dict[tuple[str, str], Kind] = {}
    for each in served:
        *group, version, plural = each.split("/")
        of = group[0] if group else ""
        if "/" in plural or plural in _SHADOWS or of in _READ_ONLY:
            continue
        kinds[of, plural] = Kind(of, version, plural, plural)
    return list(kinds.values())


async def _listed(cluster: Cluster, kind: Kind) -> tuple[Manifest, ...]:
    """All of a kind; nothing of what can only be made or asked, as it is no object of its own."""
    try:
        return (await cluster.listing(Selection(kind=kind, metadata_only=True))).items
    except NotFound:
        return ()
    except BackendError as error:
        if error.reason == _NOT_LISTED:
            return ()
        raise
