"""Who divides requests in a cluster: an Envoy beside the API, routers as pods, a Gateway before either."""

from __future__ import annotations

import time
from dataclasses import replace

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.node_ports import NodePortObjects
from modelyard.backends.kubernetes.routing import RoutingObjects
from modelyard.composing import doors, local, routers
from modelyard.composing.rooms import Given
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Invalid
from modelyard.gateway.base import Gateway
from modelyard.gateway.gateway_api.publishing import GatewayApi
from modelyard.gateway.gateway_api.site import Offer, Place, Site
from modelyard.gateway.node_ports import NodePorts, Nodes
from modelyard.gateway.remote.proof import Shown

CERTIFICATES = ("modelyard-front-door", "modelyard-front-door-beside")
"""Secrets that the Gateway's HTTPS port proves itself with."""
_ROUTER = "modelyard-gateway-router"
"""Service that the Gateway leads to: routers, or the control plane with an Envoy beside it."""
_PLATFORM_SELECTED = {"app.kubernetes.io/name": "modelyard", "app.kubernetes.io/component": "control-plane"}


def gateway(given: Given, cluster: Cluster, *, shown: Shown) -> Gateway:
    """What settings ask for. Raises Invalid for settings that contradict one another."""
    wanted = given.chosen.kubernetes
    builtin: Gateway
    if wanted.routers:
        builtin = routers.gateway(cluster, wanted.system_namespace, shown=shown, clock=given.clock)
    else:
        builtin = local.envoy(given)
    if doors.in_pods(given.chosen):
        system = wanted.system_namespace
        nodes = Nodes(namespace=system, selector=_selector(given), ports=doors.node_ports(wanted))
        builtin = NodePorts(builtin, NodePortObjects(cluster, system), nodes)
    if wanted.routing == "gateway" and not wanted.gateway_class:
        raise Invalid("kubernetes.gateway_class must name the GatewayClass that kubernetes.routing is to use")
    if wanted.routing == "builtin" or not wanted.gateway_class:
        return builtin
    applier = RoutingObjects(cluster, wanted.system_namespace)
    known = _site(given)

    async def site() -> Site:
        offered = await applier.offered(wanted.gateway_class) or frozenset()
        return replace(known, offer=replace(known.offer, features=offered))

    return GatewayApi(site=site, applier=applier, router=builtin, clock=time.monotonic)


def described(gateway: Gateway) -> dict[str, str]:
    """How many routers there are, and which of them fail, for the status."""
    members = gateway.members()
    failing = {name: why for name, why in sorted(members.items()) if why}
    if not members:
        return {}
    told = {"routers": f"{len(members) - len(failing)} of {len(members)} serve"}
    return told | {f"router {name}": why for name, why in failing.items()}


def _selector(given: Given) -> dict[str, str]:
    """Labels of the pods that divide requests."""
    if given.chosen.kubernetes.routers:
        return {routers.COMPONENT: routers.ROUTER}
    return _PLATFORM_SELECTED


def _site(given: Given) -> Site:
    chosen = given.chosen
    wanted, system = chosen.kubernetes, chosen.kubernetes.system_namespace
    door = Place(namespace=system, name=_ROUTER, port=80)
    return Site(
        namespace=system,
        offer=Offer(
            gateway_class=wanted.gateway_class,
            features=frozenset(),
            router=door,
            router_second=81 if chosen.gateway.second_port else 0,
            router_targets={80: chosen.server.port, 81: chosen.gateway.second_port},
            router_selector=_selector(given),
            node_ports=doors.node_ports(wanted),
            direct=wanted.routing == "gateway",
        ),
        namespace_of=lambda project: names.namespace(project, prefix=wanted.namespace_prefix, system=system),
        service_of=lambda service, revision: names.revision_name(_key(service), revision),
        https_port=443 if chosen.server.https_port else 0,
        second_port=chosen.gateway.second_port,
        certificates=CERTIFICATES,
        pause_seconds=wanted.gateway_pause_seconds,
    )


def _key(name: str) -> Key:
    project, _, service = name.partition("/")
    return Key.parse(service, project=project)
