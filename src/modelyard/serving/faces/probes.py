"""Health, metrics, and what the server is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.oip.metadata import server_metadata
from modelyard.serving.application import Application, Status
from modelyard.serving.errors import Failure
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, Response, json_response
from modelyard.serving.metrics import CONTENT_TYPE, Family, render
from modelyard.serving.routing import Endpoint, Route

SERVER_NAME = "modelyard"


def routes(application: Application, *, version: str) -> Mapping[str, Route]:
    """Paths that machines ask all the time."""
    metadata = server_metadata(SERVER_NAME, version, shared_memory=application.regions.offered)
    about = Route({"GET": application.fixed(metadata)})
    live = Route({"GET": application.fixed({"live": True})}, probe=True)
    ready = Route({"GET": ready_endpoint(application, application.status, {"live": True})}, probe=True)
    found = {"/v2": about, "/v2/": about, "/v2/health/live": live, "/livez": live, "/healthz": live}
    found |= {"/v2/health/ready": ready, "/readyz": ready, "/ping": ready}
    found["/metrics"] = Route({"GET": _exposition(application)}, probe=True)
    return found


def ready_endpoint(
    application: Application, asked: Status | HostedModel, more: Mapping[str, Any]
) -> Endpoint:
    """An endpoint that says whether the front, or one model, can answer requests now."""

    def endpoint(exchange: Exchange) -> None:
        answer: dict[str, Any] = {**more, "ready": asked.is_ready}
        obstacle: Failure | None = application.status.obstacle or asked.obstacle
        if not asked.is_ready and obstacle is not None:
            answer |= {"error": obstacle.message, "reason": obstacle.reason}
        application.reply(exchange, json_response(answer, 200 if asked.is_ready else 503))

    return endpoint


def _exposition(application: Application) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        body = render(_families(application))
        application.reply(exchange, Response(200, (body,), content_type=CONTENT_TYPE))

    return endpoint


def _families(application: Application) -> Iterator[Family]:
    for hosted in application.catalog.models:
        gauges = dict(hosted.gauges())
        if hosted is application.catalog.default:
            gauges["modelyard_connections"] = application.status.connections
        yield from hosted.metrics.families(gauges, hosted.counters())
