"""Services with ports of the cluster's nodes: applied, listed and taken away."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import SERVICE, Manifest, of, place

OWN_PORTS = "modelyard.dev/own-ports"
"""Label of Services that are made for services' own ports."""
_MANAGER = "modelyard-routing"


class NodePortObjects:
    """What leads from the nodes of a cluster to the routers."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace

    async def apply(self, manifest: Manifest) -> None:
        """Have this Service be as it is given here; raises Invalid that says why it may not be."""
        await self._cluster.apply(manifest, manager=_MANAGER)

    async def delete(self, manifest: Manifest) -> None:
        """Have it be no more; also one that is gone already."""
        namespace, name = place(manifest)
        await self._cluster.delete(of(manifest), name, namespace=namespace)

    async def ours(self) -> Sequence[Manifest]:
        """All that were made for own ports, as they are now."""
        labels = names.selector({names.MANAGED_BY: names.MANAGER, OWN_PORTS: "true"})
        return (await self._cluster.list(SERVICE, namespace=self._namespace, labels=labels)).items

    async def taken(self) -> frozenset[int]:
        """Ports of the nodes that any Service of the cluster has."""
        found = (await self._cluster.list(SERVICE)).items
        own = [each["spec"].get("healthCheckNodePort") for each in found]
        ports = [port.get("nodePort") for each in found for port in each["spec"].get("ports") or ()]
        return frozenset(int(port) for port in (*own, *ports) if port)
