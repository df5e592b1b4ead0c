"""Tables of what is not the front door itself: ports of single services, and the door's second port: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from modelyard.domain.endpoint import Route, Share
from modelyard.gateway.envoy.forwarding import calls, forward
from modelyard.gateway.envoy.table import UNKNOWN, by_path, direct, service_hosts, unknown

Json = dict[str, Any]

PORT_HEADER = "x-modelyard-port"
"""Tells the table by which of the services' own ports a request came in."""


def second(route: Route) -> Route:
    """The same route to its second port, where a replica without one answers like at its first.

    The name stays, so that requests count for one service by whichever port they come.
    """
    return replace(
        route,
        shares=tuple(map(_second_share, route.shares)),
        mirrors=(),  # copies are of what comes to the first port, and so are comparisons
        compares=False,
        pins=tuple(replace(pin, share=_second_name(pin.share)) for pin in route.pins),
    )


def own_ports(routes: Sequence[Route], *, name: str) -> Json:
    """Every port that leads to one service alone, whatever host the client believes to call."""
    entries = [entry for route in routes for entry in _own_ports(route)]
    unopened = direct({"prefix": "/"}, 404, UNKNOWN)
    return {
        "name": name,
        "virtual_hosts": [{"name": "ports", "domains": ["*"], "routes": [*entries, unopened]}],
        "request_headers_to_remove": [PORT_HEADER],
    }


def second_port(routes: Sequence[Route], *, name: str, domain: str) -> Json:
    """The door's second port: hosts and paths lead to the services' second ports, and to nothing else."""
    seconds = [second(route) for route in routes]
    paths = [entry for route in seconds for entry in by_path(route)]
    named = [entry for route in seconds for entry in calls(route, named=True)]
    rest = {
        "name": "rest",
        "domains": ["*"],
        "routes": [*paths, *named, direct({"prefix": "/"}, 404, UNKNOWN)],
    }
    return {
        "name": name,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": [*service_hosts(seconds), unknown(seconds, domain), rest],
    }


def _own_ports(route: Route) -> Iterator[Json]:
    for port, led in zip(route.ports, (route, second(route)), strict=False):
        came_by = {"name": PORT_HEADER, "string_match": {"exact": str(port)}}
        for entry in (*calls(led), *forward(led, {"prefix": "/"})):
            match = entry["match"]
            yield {**entry, "match": {**match, "headers": [*match.get("headers", ()), came_by]}}


def _second_share(share: Share) -> Share:
    targets = tuple(replace(t, address=t.second_address or t.address) for t in share.targets)
    return replace(share, name=_second_name(share.name), targets=targets)


def _second_name(share: str) -> str:
    """A cluster of its own, of the same service: what stands before the `#` tells whose it is."""
    service, _, revision = share.partition("#")
    return f"{service}#{revision}second"
