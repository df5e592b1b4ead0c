"""`/invocations` for MLflow and SageMaker, and the routes that Vertex names in the environment."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.oip.invocations import parse_csv, parse_invocation
from modelyard.oip.model import Query, ServedModel
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.faces.probes import ready_endpoint
from modelyard.serving.faces.v1 import PREDICT
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.inference import Dialect
from modelyard.serving.routing import Endpoint, Route

HEALTH_ROUTE = "AIP_HEALTH_ROUTE"
PREDICT_ROUTE = "AIP_PREDICT_ROUTE"
_JSON = ("application/json", "application/vnd.api+json", "application/x-www-form-urlencoded", "")
"""What clients call JSON; curl says the third when it is not told otherwise."""


def routes(application: Application, environ: Mapping[str, str], *, version: str) -> Mapping[str, Route]:
    """Paths that mean the first model. `environ` may name Vertex's paths, which then are answered too."""
    default = application.catalog.default
    ready = Route({"GET": ready_endpoint(application, application.status, {"live": True})}, probe=True)
    found = {
        "/invocations": Route({"POST": application.infer(default, Dialect("mlflow", _parse))}),
        "/health": ready,
        "/version": Route({"GET": _text(application, version)}),
        "/up": Route({"GET": _text(application, "OK")}, probe=True),
        "/": Route({"GET": application.fixed({"status": "alive"})}, probe=True),
    }
    if environ.get(HEALTH_ROUTE, "").startswith("/"):
        found[environ[HEALTH_ROUTE]] = ready
    if environ.get(PREDICT_ROUTE, "").startswith("/"):
        found[environ[PREDICT_ROUTE]] = Route({"POST": application.infer(default, PREDICT)})
    return found


def _parse(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    given = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind = given.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return parse_csv(body, model)
    if kind not in _JSON:
        shown = kind[:60]
        raise Problem(415, "invalid", f"Content-Type: expected application/json or text/csv, got {shown}")
    return parse_invocation(body, model)


def _text(application: Application, text: str) -> Endpoint:
    body = text.encode()

    def endpoint(exchange: Exchange) -> None:
        application.reply(exchange, Response(200, (body,), content_type=b"text/plain; charset=utf-8"))

    return endpoint
