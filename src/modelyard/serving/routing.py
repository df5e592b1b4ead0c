"""Which path means what: every path that a replica has, listed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange

Endpoint = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Route:
    """What a path offers, by method."""

    endpoints: Mapping[str, Endpoint]
    probe: bool = False
    """Asked by machines all the time, so not worth counting."""


Named = Callable[[str], Route | None]
"""Finds the route for the rest of a path that begins in a certain way; None when there is nothing."""


class Router:
    """Finds the endpoint for a request. Paths are whole, so that a model may be called `stats` or `a/b`.

    `named` are beginnings of paths that go on with a name which clients give.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        nothing_at: Callable[[str], Problem],
        named: Mapping[str, Named] | None = None,
    ) -> None:
        self._routes = {path.encode(): route for path, route in routes.items()}
        self._named = named or {}
        self._nothing_at = nothing_at

    def find(self, exchange: Exchange) -> Endpoint:
        """The endpoint; raises Problem 404 and 405."""
        target = exchange.target
        route = self._routes.get(target)
        if route is None:
            path = unquote_to_bytes(target.partition(b"?")[0].partition(b"#")[0])
            route = self._routes.get(path) or self._by_name(path.decode("utf-8", "replace"))
        endpoint = route.endpoints.get(exchange.method)
        if endpoint is None and exchange.method == "HEAD":
            endpoint = route.endpoints.get("GET")
        if endpoint is None:
            raise _wrong_method(exchange.method, route)
        return endpoint

    def _by_name(self, path: str) -> Route:
        for start, find in self._named.items():
            if path.startswith(start):
                route = find(path.removeprefix(start))
                if route is not None:
                    return route
        raise self._nothing_at(path)


def _wrong_method(method: str, route: Route) -> Problem:
    allowed = sorted(route.endpoints) + (["HEAD"] if "GET" in route.endpoints else [])
    problem = Problem(405, "method_not_allowed", f"{method} is not offered here; use {' or '.join(allowed)}")
    problem.headers = {"Allow": ", ".join(allowed)}
    return problem
