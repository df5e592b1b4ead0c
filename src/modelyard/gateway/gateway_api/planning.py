"""Who does what of a service's routing: the cluster's gateway, the builtin router, or nobody: pure.

Gateway API v1 has weights, headers, mirrors and time-outs. It has no tokens, no rates, no bounds on what is
in progress, no cookies, nobody who holds requests, and nobody who counts what a rollout is judged by. What
needs one of these is led to the builtin router, which does them all as it does without a gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from modelyard.domain.endpoint import Route, Share
from modelyard.domain.traffic_spec import StickyBy
from modelyard.gateway.gateway_api.site import Offer

MOST_RULES, MOST_BACKENDS = 16, 16
"""Of one HTTPRoute, and of one of its rules."""
MOST_MIRRORS = 14
"""A rule has 16 filters, and two are for headers and paths."""


class Where(StrEnum):
    """Who does it."""

    GATEWAY = "gateway"
    ROUTER = "builtin router"
    NOBODY = "not available"


class Feature(StrEnum):
    """What the routing of a service may need."""

    HOSTS = "hosts and paths"
    WEIGHTS = "weights"
    PINS = "pins by header"
    COOKIE_PINS = "pins by cookie"
    MIRROR = "mirror"
    MIRRORS = "several mirrors"
    PERCENT = "percent mirror"
    TIMEOUT = "time-out"
    TOKENS = "access tokens"
    RATE = "rate limit"
    BOUNDS = "bound of requests in progress"
    BREAKER = "circuit breaker"
    STICKY = "sticky clients"
    COMPARISON = "comparison of answers"
    WAKING = "scale to zero"
    COUNTS = "request figures"
    OWN_PORTS = "ports of its own"
    ISOLATION = "isolation of its project"
    GRPC = "gRPC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who does one thing for a service."""

    feature: Feature
    where: Where
    reason: str = ""
    """Why not the gateway, or why nobody; with what would help."""


_STANDARD = {
    Feature.MIRROR: "HTTPRouteRequestMirror",
    Feature.MIRRORS: "HTTPRouteRequestMultipleMirrors",
    Feature.PERCENT: "HTTPRouteRequestPercentageMirror",
    Feature.TIMEOUT: "HTTPRouteRequestTimeout",
    Feature.GRPC: "GRPCRoute",
}
"""What the gateway's class must say that it supports."""
_CORE = (Feature.HOSTS, Feature.WEIGHTS, Feature.PINS)
_COPIES = (
    "requests over HTTP, without x-modelyard-mirror and however many wait; calls over gRPC are not copied"
)
"""What is less than the router does."""
_OPTIONAL = (Feature.TIMEOUT, Feature.GRPC, Feature.OWN_PORTS)
"""Without these a service is still led straight to its replicas: they end late requests themselves, and what
calls over gRPC or a port has an address of its own."""


def needed(route: Route) -> frozenset[Feature]:
    """What a route asks for."""
    limits, shares = route.limits, [s for s in route.shares if s.weight > 0]
    wants = {
        Feature.WEIGHTS: len(shares) > 1,
        Feature.PINS: any(pin.header for pin in route.pins),
        Feature.COOKIE_PINS: any(pin.cookie for pin in route.pins),
        Feature.MIRROR: bool(route.mirrors),
        Feature.MIRRORS: len(_mirrored(route)) > 1,
        Feature.PERCENT: any(m.percent < 100 for m in route.mirrors) or any(
            len(of_revisions(m.share)) > 1 for m in route.mirrors
        ),
        Feature.TOKENS: not route.public,
        Feature.RATE: limits.requests_per_second > 0,
        Feature.BOUNDS: any(s.limits.concurrency for s in route.everywhere),
        Feature.BREAKER: any(s.limits.failures for s in route.everywhere),
        Feature.STICKY: route.sticky is not None and len(shares) > 1,
        Feature.COMPARISON: route.compares,
        Feature.WAKING: route.waking is not None,
        Feature.OWN_PORTS: bool(route.ports),
        Feature.ISOLATION: route.isolated,
    }  # fmt: skip
    always = {Feature.HOSTS, Feature.TIMEOUT, Feature.GRPC}
    return frozenset(always | {feature for feature, wanted in wants.items() if wanted})


def plan(route: Route, offer: Offer) -> tuple[Decision, ...]:
    """Who does each thing that a route needs, in the order of the list above."""
    wanted = needed(route)
    whole = straight(route, offer)
    return tuple(_decided(feature, route, offer, whole) for feature in Feature if feature in wanted)


def straight(route: Route, offer: Offer) -> bool:
    """Whether the gateway leads requests straight to the replicas, instead of to the builtin router."""
    if offer.router is not None and not offer.direct:
        return False
    return not any(_not_at_gateway(f, route, offer) for f in needed(route) if f not in _OPTIONAL)


def reduced(route: Route, offer: Offer) -> Route:
    """The route without what nobody can do for it, where there is no router that could.

    Of too many back ends the heaviest stay, and of too many pins the first; `plan` says what is lost.
    """
    if straight(route, offer):
        return route
    mirrors = (Feature.MIRROR, Feature.MIRRORS, Feature.PERCENT)
    mirrored = not any(_not_at_gateway(f, route, offer) for f in needed(route).intersection(mirrors))
    pins = tuple(pin for pin in route.pins if pin.header)[: MOST_RULES - 1]
    parts = [
        (share.weight, share.name, revision) for share in route.shares for revision in of_revisions(share)
    ]
    kept = {(name, revision) for _, name, revision in sorted(parts, reverse=True)[:MOST_BACKENDS]}
    shares = tuple(
        replace(share, targets=tuple(t for t in share.targets if (share.name, t.revision) in kept))
        for share in route.shares
    )
    return replace(route, pins=pins, shares=shares, mirrors=route.mirrors if mirrored else ())


def is_open(route: Route, offer: Offer) -> bool:
    """Whether it can be offered at all: nobody may come in unjudged where tokens are asked for."""
    return route.public or offer.router is not None


def table(offer: Offer) -> tuple[Decision, ...]:
    """Everything that a service can need, and who does it in this cluster."""
    return tuple(_anyone(feature, offer) for feature in Feature)


def of_revisions(share: Share) -> dict[int, int]:
    """Revision to the weight of its ready replicas within the share."""
    found: dict[int, int] = {}
    for target in share.targets:
        found[target.revision] = found.get(target.revision, 0) + target.weight
    return found


def _mirrored(route: Route) -> list[tuple[str, int]]:
    return [(m.share.name, revision) for m in route.mirrors for revision in of_revisions(m.share)]


def _decided(feature: Feature, route: Route, offer: Offer, whole: bool) -> Decision:
    if feature is Feature.OWN_PORTS:
        return _own_ports(route, offer)
    why = _not_at_gateway(feature, route, offer)
    if whole:
        return Decision(feature=feature, where=Where.NOBODY, reason=why) if why else _at_gateway(feature)
    if offer.router is None:
        return Decision(feature=feature, where=Where.NOBODY, reason=why or "of what else it needs")
    return Decision(feature=feature, where=Where.ROUTER, reason=why or _beside(route, offer))


def _at_gateway(feature: Feature) -> Decision:
    return Decision(feature=feature, where=Where.GATEWAY, reason=_COPIES if feature is Feature.MIRROR else "")


def _beside(route: Route, offer: Offer) -> str:
    """Why the router does what the gateway could."""
    if not offer.direct:
        return "all services are led there, so that their requests are counted"
    needs = sorted(f.value for f in needed(route) if f not in _OPTIONAL and _not_at_gateway(f, route, offer))
    return f"of {', '.join(needs)}"


def _anyone(feature: Feature, offer: Offer) -> Decision:
    why = _never(feature, offer)
    if not why and (offer.router is None or offer.direct):
        return _at_gateway(feature)
    if offer.router is not None:
        return Decision(feature=feature, where=Where.ROUTER, reason=why)
    return Decision(feature=feature, where=Where.NOBODY, reason=why)


def _own_ports(route: Route, offer: Offer) -> Decision:
    outside = [port for port in route.ports if port not in offer.node_ports]
    if offer.router is None:
        reason = "ports lead to the builtin router, which this cluster does not have"
        return Decision(feature=Feature.OWN_PORTS, where=Where.NOBODY, reason=reason)
    if outside:
        reason = (
            f"port {outside[0]} is none that nodes open; set gateway.port_base to {offer.node_ports.start}"
        )
        return Decision(feature=Feature.OWN_PORTS, where=Where.NOBODY, reason=reason)
    return Decision(feature=Feature.OWN_PORTS, where=Where.ROUTER, reason="by a NodePort that leads there")


def _not_at_gateway(feature: Feature, route: Route, offer: Offer) -> str:
    """Why the gateway cannot do this for the route; empty when it can."""
    return _never(feature, offer) or next(_beyond(feature, route), "")


def _never(feature: Feature, offer: Offer) -> str:
    """Why the gateway cannot do this for any route."""
    if feature in _CORE:
        return ""
    if feature in _STANDARD:
        name = _STANDARD[feature]
        missing = f"GatewayClass {offer.gateway_class} does not support {name}"
        return "" if name in offer.features else missing
    if feature is Feature.ISOLATION:
        return "its replicas let in the platform, and where the gateway's pods are is not known"
    return "Gateway API v1 cannot express it"


def _beyond(feature: Feature, route: Route) -> Iterator[str]:
    """Why this route is more than the gateway takes."""
    if feature is Feature.PINS and len(route.pins) + 1 > MOST_RULES:
        yield f"an HTTPRoute has at most {MOST_RULES} rules"
    if feature is Feature.WEIGHTS:
        count = sum(len(of_revisions(share)) for share in route.shares if share.weight > 0)
        if count > MOST_BACKENDS:
            yield f"a rule has at most {MOST_BACKENDS} back ends, and this one needs {count}"
    if feature is Feature.MIRRORS and len(_mirrored(route)) > MOST_MIRRORS:
        yield f"a rule has room for {MOST_MIRRORS} mirrors"
    if feature is Feature.STICKY and route.sticky is not None and route.sticky.by is StickyBy.COOKIE:
        yield "Gateway API v1 has no sticky clients"
