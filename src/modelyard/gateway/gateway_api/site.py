"""What an installation says once of its gateway: names, places and ports."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
API_VERSION = f"{GROUP}/v1"
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "modelyard"
ROUTING = "modelyard.dev/routing"
"""Label of everything that is rendered here; what has it and is not wanted any more is taken away."""
ROUTE = "modelyard.dev/route"
"""Annotation: the service that an object leads to."""
NODE_PORTS = range(30_000, 32_768)
"""What a cluster opens on its nodes, unless it was told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Service of the cluster and its port."""

    namespace: str
    name: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Who can divide requests in this cluster."""

    gateway_class: str
    features: frozenset[str]
    """What the class says in `status.supportedFeatures`."""
    router: Place | None
    """The builtin router's Service; None where there is none."""
    router_second: int = 0
    """Its port for the services' second ports."""
    router_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of its pods."""
    router_targets: Mapping[int, int] = field(default_factory=dict)
    """Port of the Service to port of its pods, where that Service is to be made; 0 is not open."""
    node_ports: range = NODE_PORTS
    """What nodes open for services' own ports, which lead to the router."""
    direct: bool = False
    """Lead requests past the router where the gateway can do all that is needed; they are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything about one installation's gateway that is no service's."""

    namespace: str
    """The platform's own: the Gateway and all routes are there, so that nobody else's can take a host."""
    offer: Offer
    namespace_of: Callable[[str], str]
    """Project to its namespace."""
    service_of: Callable[[str, int], str]
    """`project/service` and a revision to its Service's name."""
    api: Place | None = None
    """The control plane, for what is no service's where there is no router."""
    name: str = "modelyard"
    port: int = 80
    https_port: int = 0
    """0 means nowhere."""
    second_port: int = 0
    pause_seconds: float = 3.0
    """So long after its controller has taken up another way, requests may still go by the one before."""
    certificates: tuple[str, ...] = ()
    """Secrets with what the HTTPS port proves itself with."""


def head(kind: str, name: str, namespace: str, *, route: str = "", version: str = API_VERSION) -> Manifest:
    """How every object begins."""
    metadata: Manifest = {
        "name": name,
        "namespace": namespace,
        "labels": {MANAGED_BY: MANAGER, ROUTING: "true"},
    }
    if route:
        metadata["annotations"] = {ROUTE: route}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def name_of(prefix: str, what: str) -> str:
    """A name for an object, readable and distinct: `host-churn-service-localhost-1a2b3c4d`."""
    plain = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (prefix, plain, hashlib.sha256(what.encode()).hexdigest()[:8])))
