"""What NetworkPolicies say of one connection, as a network understands them that enforces them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.store import Object, selected
from tests.support.cluster.verbs import Cluster


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: a pod, or an address that is none."""

    ip: str
    pod: Object | None = None


def allows(cluster: Cluster, source: Object, ip: str, port: int) -> bool:
    """Whether a pod may connect there; by the address of a Service, whether it may to all pods behind it."""
    here = End(source["status"].get("podIP", ""), source)
    return all(_joined(cluster, here, there, number) for there, number in _behind(cluster, ip, port))


def _behind(cluster: Cluster, ip: str, port: int) -> Iterator[tuple[End, int]]:
    store, kind = cluster.store, cluster.kind
    pods = {pod.get("status", {}).get("podIP"): pod for pod in store.list(kind("Pod"))}
    for service in store.list(kind("Service")):
        if service["spec"].get("clusterIP") != ip:
            continue
        named = {each["port"]: each.get("name", "") for each in service["spec"].get("ports") or ()}
        for found in store.list(kind("EndpointSlice")):
            owner = (found["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
            if (found["metadata"]["namespace"], owner) != _place(service) or port not in named:
                continue
            numbers = [each["port"] for each in found["ports"] if each.get("name", "") == named[port]]
            for address in (a for endpoint in found["endpoints"] for a in endpoint["addresses"]):
                yield from ((End(address, pods.get(address)), number) for number in numbers)
        return
    yield End(ip, pods.get(ip)), port


def _joined(cluster: Cluster, here: End, there: End, port: int) -> bool:
    if here.ip == there.ip:
        return True
    out = _lets(cluster, here, "Egress", there, there.pod, port)
    return out and _lets(cluster, there, "Ingress", here, there.pod, port)


def _lets(cluster: Cluster, at: End, way: str, other: End, target: Object | None, port: int) -> bool:
    """Whether the policies at one end let the other end through."""
    if at.pod is None:
        return True
    labels, namespace = at.pod["metadata"].get("labels") or {}, at.pod["metadata"]["namespace"]
    found = [
        each
        for each in cluster.store.list(cluster.kind("NetworkPolicy"))
        if each["metadata"]["namespace"] == namespace and way in _ways(each["spec"])
    ]
    found = [each for each in found if selected(labels, each["spec"].get("podSelector") or {})]
    rules = [rule for each in found for rule in each["spec"].get(way.lower()) or ()]
    side = "from" if way == "Ingress" else "to"
    return not found or any(
        _has(rule.get("ports"), target, port) and _names(cluster, rule.get(side), other, namespace)
        for rule in rules
    )


def _ways(spec: Object) -> list[str]:
    return spec.get("policyTypes") or (["Ingress", "Egress"] if "egress" in spec else ["Ingress"])


def _has(ports: list[Mapping[str, Any]] | None, target: Object | None, port: int) -> bool:
    """Whether a rule is for this port of TCP."""
    if not ports:
        return True
    for each in ports:
        wanted = each.get("port", port)
        if isinstance(wanted, str):
            wanted = _numbers(target).get(wanted, 0)
        if each.get("protocol", "TCP") == "TCP" and wanted <= port <= each.get("endPort", wanted):
            return True
    return False


def _numbers(pod: Object | None) -> dict[str, int]:
    containers = pod["spec"]["containers"] if pod else ()
    return {p["name"]: p["containerPort"] for c in containers for p in c.get("ports") or () if "name" in p}


def _names(cluster: Cluster, peers: list[Mapping[str, Any]] | None, other: End, namespace: str) -> bool:
    """Whether a rule names this end; a rule that names nobody is for everybody."""
    return not peers or any(_is(cluster, peer, other, namespace) for peer in peers)


def _is(cluster: Cluster, peer: Mapping[str, Any], other: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        # Whether a block holds pods too differs from network to network; here it does, as in Calico's.
        block = peer["ipBlock"]
        inside = ipaddress.ip_address(other.ip) in ipaddress.ip_network(block["cidr"])
        spared = any(
            ipaddress.ip_address(other.ip) in ipaddress.ip_network(e) for e in block.get("except", ())
        )
        return inside and not spared
    if other.pod is None:
        return False
    theirs = other.pod["metadata"]["namespace"]
    if "namespaceSelector" not in peer:
        if theirs != namespace:
            return False
    else:
        found = cluster.store.get(cluster.kind("Namespace"), ("", theirs))
        labels = {**((found or {}).get("metadata", {}).get("labels") or {})}
        if not selected({**labels, "kubernetes.io/metadata.name": theirs}, peer["namespaceSelector"]):
            return False
    return selected(other.pod["metadata"].get("labels") or {}, peer.get("podSelector") or {})


def _place(value: Object) -> tuple[str, str]:
    return value["metadata"]["namespace"], value["metadata"]["name"]
