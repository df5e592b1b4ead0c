"""Routers as pods: which there are, and the copy of routes that they start with."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from modelyard.backends.kubernetes import forms, kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import NotFound, TooLarge
from modelyard.gateway.remote import copy
from modelyard.gateway.remote.gateway import RemoteGateway
from modelyard.gateway.remote.link import Router
from modelyard.gateway.remote.proof import Shown

COMPONENT = "app.kubernetes.io/component"
ROUTER = "router"
FACE_PORT = 8079
_PLAIN = "face"
"""What routers that knew no TLS called that port."""


def gateway(cluster: Cluster, namespace: str, *, shown: Shown, clock: Callable[[], float]) -> RemoteGateway:
    """A gateway that tells the routers of a namespace what to do."""

    async def listed() -> Sequence[Router]:
        found = await cluster.list(kinds.POD, namespace=namespace, labels=f"{COMPONENT}={ROUTER}")
        pods = [pod for pod in found.items if _runs(pod)]
        return [_router(pod) for pod in pods]

    return RemoteGateway(routers=listed, shown=shown, copy=SecretCopy(cluster, namespace), clock=clock)


class SecretCopy:
    """Keeps the last publication in Secrets `modelyard-routes-N`, which routers have mounted.

    Secrets, as it holds the key of the front door's certificate.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def load(self) -> bytes | None:
        """The last one that was saved; None before the first."""
        stored = []
        for number in range(copy.MOST_PIECES):
            try:
                found = await self._cluster.get(kinds.SECRET, _name(number), namespace=self._namespace)
            except NotFound:
                break
            data = found.get("data") or {}
            stored.append({name: base64.b64decode(text) for name, text in data.items()})
        return copy.unpack(stored)

    async def save(self, document: bytes, *, version: int) -> None:
        """Keep this one instead. Raises TooLarge."""
        pieces = copy.pack(document, version=version)
        if len(pieces) > copy.MOST_PIECES:
            most = copy.MOST_PIECES * copy.MOST_BYTES
            raise TooLarge(f"the routes need more than the {most} bytes that the cluster keeps for routers")
        for piece in pieces:
            data = {name: forms.coded(content) for name, content in piece.files.items()}
            await self._cluster.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": _name(piece.number),
                        "namespace": self._namespace,
                        "labels": {names.MANAGED_BY: names.MANAGER},
                    },
                    "data": data,
                }
            )


def _router(pod: Manifest) -> Router:
    """A pod as it says itself that it is; who could change that has the platform's Secrets anyhow."""
    ports = [port for each in pod["spec"]["containers"] for port in each.get("ports") or ()]
    return Router(
        name=pod["metadata"]["name"],
        address=_address(pod["status"]["podIP"]),
        plain=any(port.get("name") == _PLAIN for port in ports),
    )


def _runs(pod: Manifest) -> bool:
    """Whether there is somebody to talk to; one that has ended keeps its address for a while."""
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def _name(number: int) -> str:
    return f"modelyard-routes-{number}"


def _address(ip: str) -> str:
    return f"[{ip}]:{FACE_PORT}" if ":" in ip else f"{ip}:{FACE_PORT}"
