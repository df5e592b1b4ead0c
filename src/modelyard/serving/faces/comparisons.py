"""What the platform reads to compare revisions; nobody else may, and nobody can through the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.comparing import Comparisons
from modelyard.serving.faces.inside import Admit
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.routing import Endpoint, Route

PATH = "/modelyard/comparisons"


def routes(application: Application, admit: Admit) -> Mapping[str, Route]:
    """The remembered answers of the first model, where a platform asks for them."""
    kept = application.catalog.default.comparisons
    return {} if kept is None else {PATH: Route({"GET": _remembered(application, kept, admit)}, probe=True)}


def _remembered(application: Application, kept: Comparisons, admit: Admit) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        admit(exchange)
        application.reply(exchange, Response(200, (kept.document(),)))

    return endpoint
