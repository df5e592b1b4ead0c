"""A gateway of the cluster as Envoy's configuration: listeners, hosts, clusters and their endpoints."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.cluster import gateways
from tests.support.cluster.dataplane import actions, matching
from tests.support.cluster.dataplane.matching import Matched
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving

Json = dict[str, Any]
REFUSED = "refused"
"""Cluster of back ends that there are not, or that may not be sent to: it answers 500."""
_ABOVE = 10_000
"""Ports below 1024, which are for root, are so much higher here."""


@dataclass(slots=True)
class Programme:
    """What an Envoy is to work by."""

    listeners: dict[str, Json] = field(default_factory=dict)
    """By address and port: TLS certificates of it, or none."""
    hosts: dict[str, list[Json]] = field(default_factory=dict)
    """By listener: virtual hosts."""
    endpoints: dict[str, list[str]] = field(default_factory=dict)
    """By cluster: addresses of pods that are ready."""


def port(wanted: int) -> int:
    """Where a listener's port is on this machine."""
    return wanted + _ABOVE if wanted < 1024 else wanted


def programme(hand: Hand, routes: Sequence[Object], addresses: Mapping[str, str]) -> Programme:
    """All gateways that have an address, by uid, with these routes."""
    found = Programme()
    for owner in hand.list("Gateway"):
        address = addresses.get(owner["metadata"]["uid"])
        if address is None or is_leaving(owner):
            continue
        ports: dict[int, list[Json]] = {}
        for listener in owner["spec"]["listeners"]:
            ports.setdefault(listener["port"], []).append(listener)
        for number, listeners in ports.items():
            certificates = list(_certificates(hand, owner, listeners))
            if listeners[0]["protocol"] == "HTTPS" and not certificates:
                continue
            name = f"{address}:{port(number)}"
            found.listeners[name] = {"certificates": certificates}
            attached = [(r, each) for each in listeners for r in routes if _serves(hand, r, owner, each)]
            found.hosts[name] = _hosts(hand, attached, found)
    return found


def _serves(hand: Hand, route: Object, owner: Object, listener: Json) -> bool:
    return not is_leaving(route) and gateways.attached(hand, route, owner, listener)


def _hosts(hand: Hand, attached: Sequence[tuple[Object, Json]], found: Programme) -> list[Json]:
    by_host: dict[str, list[tuple[Matched, Object]]] = {}
    for route, listener in attached:
        wanted = route["spec"].get("hostnames", ())
        for host in matching.hostnames(listener.get("hostname", "*"), wanted):
            by_host.setdefault(host, []).extend((each, route) for each in matching.of(route))
    return [
        {"name": host, "domains": [host], "routes": list(_ranked(hand, host, by_host, found))}
        for host in sorted(by_host)
    ]


def _ranked(
    hand: Hand, host: str, by_host: Mapping[str, list[tuple[Matched, Object]]], found: Programme
) -> Iterator[Json]:
    """All rules that fit a host: those of the closest hostname first, then by what they match."""
    for wide in sorted((w for w in by_host if matching.covers(w, host)), key=matching.closeness):
        for matched, route in sorted(by_host[wide], key=lambda pair: pair[0].order):

            def find(backend: Mapping[str, Any], route: Object = route) -> str:
                return _cluster(hand, route, backend, found)

            yield actions.route(matched, find)


def _cluster(hand: Hand, route: Object, backend: Mapping[str, Any], found: Programme) -> str:
    """The cluster of a back end, with the pods that are behind it now."""
    namespace = backend.get("namespace", route["metadata"]["namespace"])
    if backend.get("kind", "Service") != "Service" or not gateways.granted(hand, route, backend):
        return REFUSED
    service = hand.get("Service", (namespace, backend["name"]))
    ports = (service or {"spec": {}})["spec"].get("ports", ())
    entry = next((each for each in ports if each["port"] == backend.get("port")), None)
    if service is None or entry is None:
        return REFUSED
    second = route["kind"] == "GRPCRoute" or entry.get("appProtocol") == "kubernetes.io/h2c"
    name = f"{'h2' if second else 'h1'}_{namespace}_{backend['name']}_{backend['port']}"
    found.endpoints[name] = sorted(_ready(hand, service, entry.get("name", "")))
    return name


def _ready(hand: Hand, service: Object, port_name: str) -> Iterator[str]:
    for each in hand.list("EndpointSlice", service["metadata"]["namespace"]):
        labels = each["metadata"].get("labels") or {}
        if labels.get("kubernetes.io/service-name") != service["metadata"]["name"]:
            continue
        number = next((p["port"] for p in each.get("ports", ()) if p.get("name", "") == port_name), None)
        for endpoint in each.get("endpoints", ()) if number else ():
            if (endpoint.get("conditions") or {}).get("ready", True):
                yield from (f"{address}:{number}" for address in endpoint["addresses"])


def _certificates(hand: Hand, owner: Object, listeners: list[Json]) -> Iterator[Json]:
    for listener in listeners:
        for each in (listener.get("tls") or {}).get("certificateRefs", ()):
            namespace = each.get("namespace", owner["metadata"]["namespace"])
            secret = hand.get("Secret", (namespace, each["name"]))
            if secret is not None:
                data = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
                yield {
                    "certificate_chain": {"inline_string": data["tls.crt"]},
                    "private_key": {"inline_string": data["tls.key"]},
                }
