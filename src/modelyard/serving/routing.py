"""Which path means what: every path that a replica has, listed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from modelyard.serving.errors import Problem, not_found
from modelyard.serving.http.messages import Exchange

Endpoint = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Route:
    """What a path offers, by method."""

    endpoints: Mapping[str, Endpoint]
    probe: bool = False
    """Asked by machines all the time, so not worth counting."""


class Router:
    """Finds the endpoint for a request. Paths are whole, so that a model may be called `stats` or `a/b`."""

    def __init__(self, routes: Mapping[str, Route], *, models: Iterable[str], version: str) -> None:
        self._routes = {path.encode(): route for path, route in routes.items()}
        self._models = tuple(models)
        self._version = version

    def find(self, exchange: Exchange) -> Endpoint:
        """The endpoint; raises Problem 404 and 405."""
        target = exchange.target
        route = self._routes.get(target)
        if route is None:
            path = unquote_to_bytes(target.partition(b"?")[0].partition(b"#")[0])
            route = self._routes.get(path)
            if route is None:
                raise self._unknown(path.decode("utf-8", "replace"))
        endpoint = route.endpoints.get(exchange.method)
        if endpoint is None and exchange.method == "HEAD":
            endpoint = route.endpoints.get("GET")
        if endpoint is None:
            raise _wrong_method(exchange.method, route)
        return endpoint

    def _unknown(self, path: str) -> Problem:
        rest = path.removeprefix("/v2/models/")
        if rest == path or not rest:
            return not_found(f"there is nothing at {_short(path)}")
        for model in sorted(self._models, key=len, reverse=True):
            if rest.startswith(f"{model}/versions/"):
                version = rest.removeprefix(f"{model}/versions/").partition("/")[0]
                if version != self._version:
                    has = f'this replica serves version "{self._version}"' if self._version else "it has none"
                    return not_found(f'model "{model}" has no version "{_short(version)}" here; {has}')
            if rest == model or rest.startswith(f"{model}/"):
                return not_found(f"there is nothing at {_short(path)}")
        name = rest.partition("/")[0]
        return not_found(f'unknown model "{_short(name)}"; this replica serves "{self._models[0]}"')


def _wrong_method(method: str, route: Route) -> Problem:
    allowed = sorted(route.endpoints) + (["HEAD"] if "GET" in route.endpoints else [])
    problem = Problem(405, "method_not_allowed", f"{method} is not offered here; use {' or '.join(allowed)}")
    problem.headers = {"Allow": ", ".join(allowed)}
    return problem


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "…"
