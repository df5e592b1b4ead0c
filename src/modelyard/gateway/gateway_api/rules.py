"""The rules of one service's HTTPRoute and GRPCRoute: whom requests and their copies go to: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from modelyard.domain.endpoint import Pin, Route, Share
from modelyard.gateway.gateway_api.planning import of_revisions
from modelyard.gateway.gateway_api.site import Place, Site

Json = dict[str, Any]

MOST_WEIGHT = 1_000_000
ALIAS = "x-modelyard-alias"
SERVICE_HEADER = "x-modelyard-service"
_UNTRUSTED = (
    "authorization",
    "x-api-key",
    "cookie",
    SERVICE_HEADER,
    "x-modelyard-subject",
    "x-modelyard-mirror",
    "x-modelyard-compare",
    "x-modelyard-client",
)
"""What nobody behind the gateway may believe, or needs to know."""
_MARGIN_SECONDS = 2
_FINE = 1000
_LONGEST_VALUE = 4096
"""Of a header that a route sets; a longer one would have the whole route refused."""


def main(route: Route, site: Site, *, match: Json, strip: bool = False) -> list[Json]:
    """Rules that lead straight to the replicas: pins first, then everything by weight."""
    known = {share.name: share for share in route.shares}
    pinned = [pin for pin in route.pins if pin.header and known[pin.share].targets]
    rules = [_rule(route, [_alone(known[pin.share])], site, match=_by_header(match, pin)) for pin in pinned]
    rules.append(_rule(route, route.shares, site, match=match))
    if strip:
        rewrite = {
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
        }
        for rule in rules:
            rule["filters"] = [*rule["filters"], rewrite]
    return rules


def calls(route: Route, site: Site) -> list[Json]:
    """Rules of the GRPCRoute, straight to the replicas."""
    known = {share.name: share for share in route.shares}
    pinned = [pin for pin in route.pins if pin.header and known[pin.share].targets]
    rules = [
        {
            "matches": [{"headers": [{"type": "Exact", "name": pin.header, "value": pin.value}]}],
            "filters": [_headers(route)],
            "backendRefs": backends([_alone(known[pin.share])], site),
        }
        for pin in pinned
    ]
    return [*rules, {"filters": [_headers(route)], "backendRefs": backends(route.shares, site)}]


def to_router(place: Place, match: Json | None = None) -> Json:
    """The rule that leads to the builtin router, which does the rest."""
    rule: Json = {"backendRefs": [_backend(place.namespace, place.name, place.port)]}
    return rule | ({"matches": [match]} if match else {})


def backends(shares: Iterable[Share], site: Site) -> list[Json]:
    """Revisions' Services, with whole weights in the proportion of shares and of replicas within a share."""
    weights: dict[tuple[str, str], float] = {}
    for share in shares:
        revisions = of_revisions(share)
        of = sum(revisions.values())
        for revision, part in revisions.items():
            if share.weight > 0 and part > 0:
                place = service(share, revision, site)
                weights[place] = weights.get(place, 0.0) + share.weight * part / of
    whole = {place: max(round(weight * _FINE), 1) for place, weight in weights.items()}
    if len(whole) == 1:
        whole = dict.fromkeys(whole, 1)
    return [_backend(*place, 80, weight=weight) for place, weight in sorted(whole.items())]


def _rule(route: Route, shares: Sequence[Share], site: Site, *, match: Json) -> Json:
    rule: Json = {"matches": [match], "filters": [_headers(route), *_mirrors(route, site)]}
    rule["backendRefs"] = backends(shares, site)
    if "HTTPRouteRequestTimeout" in site.offer.features:
        rule["timeouts"] = {"request": _duration(route.timeout_seconds + _MARGIN_SECONDS)}
    return rule


def _alone(share: Share) -> Share:
    """A pin leads to its share whatever weight that has."""
    return replace(share, weight=100)


def _mirrors(route: Route, site: Site) -> list[Json]:
    """A copy goes to one Service each: of several revisions' each gets its part."""
    found = []
    for mirror in route.mirrors:
        revisions = of_revisions(mirror.share)
        of = sum(revisions.values())
        for revision, part in sorted(revisions.items()):
            if mirror.percent <= 0 or part <= 0:
                continue
            backend = _backend(*service(mirror.share, revision, site), 80)
            much: Json = {"percent": mirror.percent}
            if part != of:
                much = {"fraction": {"numerator": mirror.percent * part, "denominator": 100 * of}}
            if mirror.percent == 100 and part == of:
                much = {}
            found.append({"type": "RequestMirror", "requestMirror": {"backendRef": backend, **much}})
    return found


def _headers(route: Route) -> Json:
    """What replicas are told of the request, and what they are not."""
    name = route.service
    for each in route.former:
        if len(name) + len(each) < _LONGEST_VALUE:
            name += f",{each}"
    return {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": ALIAS, "value": name}], "remove": list(_UNTRUSTED)},
    }


def _by_header(match: Json, pin: Pin) -> Json:
    header = {"type": "Exact", "name": pin.header, "value": pin.value}
    return {**match, "headers": [*match.get("headers", ()), header]}


def service(share: Share, revision: int, site: Site) -> tuple[str, str]:
    """Namespace and name of the Service of a share's replicas of one revision."""
    project = share.service.partition("/")[0]
    return site.namespace_of(project), site.service_of(share.service, revision)


def _backend(namespace: str, name: str, port: int, *, weight: int | None = None) -> Json:
    found: Json = {"kind": "Service", "namespace": namespace, "name": name, "port": port}
    return found if weight is None else {**found, "weight": min(weight, MOST_WEIGHT)}


def _duration(seconds: float) -> str:
    """As the API writes it: whole numbers of at most five digits."""
    whole = ceil(seconds)
    return f"{whole}s" if whole <= 99_999 else f"{ceil(whole / 3600)}h"
