"""Every object that makes a gateway of the cluster work by our routes: pure.

The Gateway and all routes are in the platform's own namespace, so that whoever may write in a project's
cannot take a host; a ReferenceGrant in each project's namespace lets them lead to its Services.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from modelyard.domain.endpoint import Route
from modelyard.gateway.gateway_api import planning, rules
from modelyard.gateway.gateway_api.hosts import grpc, with_aliases
from modelyard.gateway.gateway_api.planning import MOST_RULES
from modelyard.gateway.gateway_api.site import GROUP, Manifest, Place, Site, head, name_of

Json = dict[str, Any]

_EVERYTHING: Json = {"path": {"type": "PathPrefix", "value": "/"}}
_HOST_HEADERS = ("x-modelyard-host", "location")
"""By which a client without DNS says the host that it means."""
_LONGEST_SECTION = 16
"""Hosts of one route."""


def objects(routes: Iterable[Route], site: Site) -> tuple[Manifest, ...]:
    """Everything that there should be, in the order of applying: what leads somewhere comes after it."""
    present = with_aliases(sorted(routes, key=lambda route: route.name))
    offered = [route for route in present if planning.is_open(route, site.offer)]
    if site.offer.router is None:
        offered = [planning.reduced(route, site.offer) for route in offered]
    return (
        *_grants(offered, site),
        *_router(site),
        gateway(site),
        *(each for route in _owners(offered) for each in _by_host(route, site)),
        *_front(offered, site),
    )


def gateway(site: Site) -> Manifest:
    """The Gateway: a listener for each port, for any host, as services may have hosts of their own."""
    here = {"namespaces": {"from": "Same"}}
    listeners: list[Json] = [{"name": "http", "port": site.port, "protocol": "HTTP", "allowedRoutes": here}]
    if site.second_port:
        listeners.append(
            {"name": "second", "port": site.second_port, "protocol": "HTTP", "allowedRoutes": here}
        )
    if site.https_port:
        certificates = [{"kind": "Secret", "name": name} for name in site.certificates]
        tls = {"mode": "Terminate", "certificateRefs": certificates}
        listeners.append(
            {"name": "https", "port": site.https_port, "protocol": "HTTPS", "tls": tls, "allowedRoutes": here}
        )
    spec = {"gatewayClassName": site.offer.gateway_class, "listeners": listeners}
    return head("Gateway", site.name, site.namespace) | {"spec": spec}


def _owners(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Those that have their hosts; of two with one host the production service, as at the builtin router."""
    found: dict[str, Route] = {}
    for route in sorted((r for r in routes if r.hosted), key=lambda r: ("@" in r.service, r.name)):
        found.setdefault(route.addresses.host.lower(), route)
    return tuple(found[host] for host in sorted(found))


def leads_straight(route: Route, site: Site) -> bool:
    """Whether requests go from the gateway to the replicas: it can do all, and there are some."""
    ready = any(share.weight > 0 and share.targets for share in route.shares)
    return planning.straight(route, site.offer) and (ready or site.offer.router is None)


def services(route: Route, site: Site) -> Iterator[tuple[str, str]]:
    """Namespace and name of each Service that a route leads to, where it leads straight to replicas."""
    for share in route.everywhere:
        yield from (rules.service(share, revision, site) for revision in planning.of_revisions(share))


def _by_host(route: Route, site: Site) -> Iterator[Manifest]:
    """One HTTPRoute for the host and its alias, and a GRPCRoute for calls."""
    host = route.addresses.host.lower()
    called = grpc(host)
    hosts = [host, *(alias for alias in route.aliases if alias != called)][:_LONGEST_SECTION]
    straight = leads_straight(route, site)
    router = site.offer.router
    if straight or router is None:
        found = rules.main(route, site, match=_EVERYTHING)
    else:
        found = [rules.to_router(router, _EVERYTHING)]
    yield _http(site, name_of("host", host), found, hosts=hosts, route=route.name)
    if router is not None and site.second_port:
        second = router if not site.offer.router_second else _second(site)
        yield _http(
            site,
            name_of("second", host),
            [rules.to_router(second, _EVERYTHING)],
            hosts=hosts,
            route=route.name,
            sections=("second",),
        )
    if called in route.aliases and "GRPCRoute" in site.offer.features:
        grpc_rules = rules.calls(route, site) if straight or router is None else [rules.to_router(router)]
        yield _grpc(site, name_of("grpc", host), grpc_rules, host=called, route=route.name)


def _front(routes: Sequence[Route], site: Site) -> Iterator[Manifest]:
    """What answers at any other host: services by path and by header, and the control plane.

    With a builtin router all of that is its own; without one each service has rules, and a route what fits.
    """
    rest = site.offer.router or site.api
    if rest is not None:
        yield _http(site, "front-door", [rules.to_router(rest, _EVERYTHING)])
    if site.offer.router is not None:
        return
    own = [rule for route in routes for rule in _at_front(route, site)]
    for number, at in enumerate(range(0, len(own), MOST_RULES), start=1):
        yield _http(site, f"front-door-{number}", own[at : at + MOST_RULES])


def _at_front(route: Route, site: Site) -> Iterator[Json]:
    if route.hosted:
        for header in _HOST_HEADERS:
            by_header = {
                "headers": [{"type": "Exact", "name": header, "value": route.addresses.host.lower()}]
            }
            yield from rules.main(route, site, match={**_EVERYTHING, **by_header})
    if "HTTPRoutePathRewrite" in site.offer.features:
        yield from rules.main(route, site, match=_below(route.addresses.path), strip=True)
    if route.addresses.alias:
        yield from rules.main(route, site, match=_below(route.addresses.alias))


def _below(path: str) -> Json:
    return {"path": {"type": "PathPrefix", "value": path}}


def _grants(routes: Iterable[Route], site: Site) -> Iterator[Manifest]:
    """Leave for our routes to lead to a project's Services."""
    projects = {
        share.service.partition("/")[0]
        for route in routes
        if leads_straight(route, site)
        for share in route.everywhere
        if share.targets
    }
    for namespace in sorted({site.namespace_of(project) for project in projects}):
        kinds = ("HTTPRoute", "GRPCRoute") if "GRPCRoute" in site.offer.features else ("HTTPRoute",)
        spec = {
            "from": [{"group": GROUP, "kind": kind, "namespace": site.namespace} for kind in kinds],
            "to": [{"group": "", "kind": "Service"}],
        }
        yield head("ReferenceGrant", "modelyard-routes", namespace, version=f"{GROUP}/v1beta1") | {
            "spec": spec
        }


def _router(site: Site) -> Iterator[Manifest]:
    """The Service that leads to the builtin router, unless somebody else makes it."""
    place, targets = site.offer.router, site.offer.router_targets
    if place is None or not targets:
        return
    ports = [
        {"name": f"port-{port}", "port": port, "targetPort": target, "protocol": "TCP"}
        for port, target in sorted(targets.items())
        if target
    ]
    spec = {"type": "ClusterIP", "selector": dict(site.offer.router_selector), "ports": ports}
    yield head("Service", place.name, place.namespace, version="v1") | {"spec": spec}


def _http(
    site: Site,
    name: str,
    found: Sequence[Json],
    *,
    hosts: Sequence[str] = (),
    route: str = "",
    sections: Sequence[str] = (),
) -> Manifest:
    spec: Json = {"parentRefs": _parents(site, sections), "rules": list(found)}
    if hosts:
        spec["hostnames"] = list(hosts)
    return head("HTTPRoute", name, site.namespace, route=route) | {"spec": spec}


def _grpc(site: Site, name: str, found: Sequence[Json], *, host: str, route: str) -> Manifest:
    spec = {"parentRefs": _parents(site, ()), "hostnames": [host], "rules": list(found)}
    return head("GRPCRoute", name, site.namespace, route=route) | {"spec": spec}


def _parents(site: Site, sections: Sequence[str]) -> list[Json]:
    """The listeners for services' first ports, unless others are named."""
    named = sections or ("http", *(("https",) if site.https_port else ()))
    return [
        {
            "group": GROUP,
            "kind": "Gateway",
            "name": site.name,
            "namespace": site.namespace,
            "sectionName": section,
        }
        for section in named
    ]


def _second(site: Site) -> Place:
    router = site.offer.router
    assert router is not None  # noqa: S101 - asked before
    return replace(router, port=site.offer.router_second)
