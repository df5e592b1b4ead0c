"""By which addresses clients outside find a platform in a cluster: as settings say, or as it is found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.address import Site
from modelyard.domain.errors import ModelyardError
from modelyard.settings import Settings

log = logging.getLogger(__name__)

DOOR = "modelyard-door"
"""Service of the front door."""
OURS = "app.kubernetes.io/name=modelyard"
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
_PATIENCE_SECONDS = 15.0
_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Two addresses, which are often the same; each is empty where nobody knows one."""

    door: str = ""
    """Where the front door answers."""
    node: str = ""
    """Some node, where each answers for all at services' own ports."""


async def look(cluster: Cluster, chosen: Settings, *, patience_seconds: float = _PATIENCE_SECONDS) -> Outside:
    """What is known when the platform starts; a load balancer that is new is waited for a little."""
    wanted = chosen.kubernetes
    if not wanted.shown_port:
        return Outside()
    node = await _node(cluster)
    door = said(wanted.shown_host, chosen.gateway.external_ip)
    return Outside(
        door=door or await _door(cluster, wanted.system_namespace, patience_seconds) or node, node=node
    )


def said(host: str, external_ip: str) -> str:
    """The address that settings give the front door; empty when they give none."""
    return host if host not in _EVERYWHERE else Site(external_ip=external_ip).shown


def balanced(door: Manifest) -> tuple[str, ...]:
    """The addresses that a load balancer has given a Service."""
    given = ((door.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return tuple(str(each.get("ip") or each.get("hostname")) for each in given)


def node_address(node: Manifest) -> str:
    """A node's address for clients: the outer one if it has one, else that of the cluster."""
    return next(_addresses(node), ("", ""))[1]


async def _node(cluster: Cluster) -> str:
    """Address of some node, an outer one if any has one."""
    try:
        nodes = (await cluster.list(kinds.NODE)).items
    except ModelyardError as error:
        log.warning("nodes cannot be listed; addresses of services are shown without theirs: %s", error)
        return ""
    found = [next(_addresses(node)) for node in nodes if any(_addresses(node))]
    return min(found, key=lambda each: each[0] != "ExternalIP", default=("", ""))[1]


async def _door(cluster: Cluster, namespace: str, patience_seconds: float) -> str:
    """Where a load balancer or the pods' own nodes answer; empty where every node does, or nobody knows."""
    try:
        door = await cluster.get(kinds.SERVICE, DOOR, namespace=namespace)
        kind = door["spec"].get("type")
        if kind == "LoadBalancer":
            return await _balanced(cluster, namespace, patience_seconds)
        if kind == "ClusterIP":
            pods = (await cluster.list(kinds.POD, namespace=namespace, labels=OURS)).items
            return next((str(pod["status"]["hostIP"]) for pod in pods if _has_host_port(pod)), "")
    except ModelyardError as error:
        log.warning("where the front door answers cannot be asked; a node is shown instead: %s", error)
    return ""


async def _balanced(cluster: Cluster, namespace: str, patience_seconds: float) -> str:
    try:
        async with asyncio.timeout(patience_seconds):
            while True:
                door = await cluster.get(kinds.SERVICE, DOOR, namespace=namespace)
                if found := balanced(door):
                    return found[0]
                await asyncio.sleep(_AGAIN_SECONDS)
    except TimeoutError:
        log.warning(
            "the load balancer of %s has no address yet, and a node is shown instead; set public_url, or "
            "restart the platform when it has one",
            DOOR,
        )
        return ""


def _has_host_port(pod: Manifest) -> bool:
    """Whether a node's own port leads to it, of a node that is known."""
    ports = (port for each in pod["spec"]["containers"] for port in each.get("ports") or ())
    return bool((pod.get("status") or {}).get("hostIP")) and any(port.get("hostPort") for port in ports)


def _addresses(node: Manifest) -> Iterator[tuple[str, str]]:
    """A node's addresses with their kinds, the best first."""
    found = {each["type"]: each["address"] for each in (node.get("status") or {}).get("addresses") or ()}
    yield from ((kind, str(found[kind])) for kind in ("ExternalIP", "InternalIP") if kind in found)
