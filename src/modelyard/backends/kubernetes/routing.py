"""The objects of routing in a real cluster: applied, listed and taken away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from modelyard.backends.kubernetes import forms, names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import (
    ENDPOINT_SLICE,
    GATEWAY,
    GATEWAY_CLASS,
    GRPC_ROUTE,
    HTTP_ROUTE,
    REFERENCE_GRANT,
    SECRET,
    SERVICE,
    Kind,
    Manifest,
    of,
    place,
)
from modelyard.domain.errors import NotFound

ROUTING = "modelyard.dev/routing"
"""Label of everything that is rendered for routing."""
KINDS = (GATEWAY, HTTP_ROUTE, GRPC_ROUTE, REFERENCE_GRANT, SERVICE)
_MANAGER = "modelyard-routing"
_SERVICE_NAME = "kubernetes.io/service-name"
"""Label of EndpointSlices."""


class Shown(Protocol):
    """A certificate and its key, in PEM."""

    @property
    def chain(self) -> str:
        """The certificates."""

    @property
    def key(self) -> str:
        """The key of the first."""


class RoutingObjects:
    """What a gateway of the cluster is told; a kind that the cluster does not serve has no objects."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace

    async def apply(self, manifest: Manifest) -> None:
        """Have this object be as it is given here, whatever it was."""
        await self._cluster.apply(manifest, manager=_MANAGER)

    async def delete(self, manifest: Manifest) -> None:
        """Have it be no more; also one that is gone already."""
        namespace, name = place(manifest)
        await self._cluster.delete(of(manifest), name, namespace=namespace)

    async def ours(self) -> Sequence[Manifest]:
        """All that were rendered for routing, as they are now, with their status.

        What another installation in the same cluster rendered is left out: whoever asks prunes.
        """
        found: list[Manifest] = []
        for kind in KINDS:
            found += await self._listed(kind)
        return found

    async def certify(self, name: str, certificate: Shown) -> None:
        """Keep a certificate in the Secret of this name, in the platform's namespace."""
        data = {"tls.crt": certificate.chain, "tls.key": certificate.key}
        secret = {
            "apiVersion": "v1",
            "kind": SECRET.name,
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {names.MANAGED_BY: names.MANAGER},
            },
            "type": "kubernetes.io/tls",
            "data": {key: forms.coded(text) for key, text in data.items()},
        }
        await self._cluster.apply(secret, manager=_MANAGER)

    async def endpoints(self, services: Collection[tuple[str, str]]) -> dict[tuple[str, str], frozenset[str]]:
        """Which addresses behind these Services are ready, by namespace and name."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for namespace in sorted({namespace for namespace, _ in services}):
            wanted = ",".join(sorted(name for where, name in services if where == namespace))
            labels = f"{_SERVICE_NAME} in ({wanted})"
            for each in (await self._cluster.list(ENDPOINT_SLICE, namespace=namespace, labels=labels)).items:
                name = (namespace, each["metadata"]["labels"][_SERVICE_NAME])
                found[name] = found.get(name, frozenset()) | _ready(each)
        return found

    async def offered(self, name: str) -> frozenset[str] | None:
        """What a GatewayClass says that it supports; None when there is no such class."""
        try:
            found = await self._cluster.get(GATEWAY_CLASS, name)
        except NotFound:
            return None
        features = (found.get("status") or {}).get("supportedFeatures") or []
        # Until Gateway API 1.2 they were bare words.
        return frozenset(each["name"] if isinstance(each, dict) else str(each) for each in features)

    async def _listed(self, kind: Kind) -> list[Manifest]:
        labels = names.selector({names.MANAGED_BY: names.MANAGER, ROUTING: "true"})
        # Grants are where projects live, and all else is where the platform does.
        namespace = "" if kind is REFERENCE_GRANT else self._namespace
        try:
            listing = await self._cluster.list(kind, namespace=namespace, labels=labels)
        except NotFound:
            return []
        # A list's items do not say what they are.
        found = [{**item, "apiVersion": kind.api_version, "kind": kind.name} for item in listing.items]
        return [each for each in found if kind is not REFERENCE_GRANT or self._is_of_ours(each)]

    def _is_of_ours(self, grant: Manifest) -> bool:
        """Whether a grant is for routes of this installation: it names the namespace that they are in."""
        return {each.get("namespace") for each in grant["spec"]["from"]} == {self._namespace}


def _ready(endpoint_slice: Manifest) -> frozenset[str]:
    """Addresses that requests are sent to; one of which nothing is said is ready."""
    entries = endpoint_slice.get("endpoints") or ()
    ready = [e for e in entries if (e.get("conditions") or {}).get("ready") is not False]
    return frozenset(address for entry in ready for address in entry["addresses"])
