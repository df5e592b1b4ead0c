"""What the platform reads to compare revisions; nobody else may, and nobody can through the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.comparing import Comparisons
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.routing import Endpoint, Route

PATH = "/modelyard/comparisons"


def routes(application: Application) -> Mapping[str, Route]:
    """The remembered answers of the first model, where a platform asks for them."""
    kept = application.catalog.default.comparisons
    return {} if kept is None else {PATH: Route({"GET": _remembered(application, kept)}, probe=True)}


def _remembered(application: Application, kept: Comparisons) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        # The gateway says of every request that it forwards where it came from, and takes from clients what
        # they say about it; so a request without a word of it was made on this machine, at the socket.
        if b"x-forwarded-for" in exchange.headers or b"x-forwarded-proto" in exchange.headers:
            raise Problem(404, "not_found", "there is nothing at this address")
        application.reply(exchange, Response(200, (kept.document(),)))

    return endpoint
