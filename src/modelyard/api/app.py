"""The application: every route, every error, one middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modelyard.api import (
    accounts,
    console,
    deployments,
    docs,
    endpoints,
    models,
    problems,
    projects,
    runtimes,
    system,
    uploads,
)
from modelyard.api.idempotency import Turns
from modelyard.api.middleware import Envelope, Observe
from modelyard.control.platform import Platform

PREFIX = "/api/v1"
Exposition = Callable[[], Awaitable[tuple[bytes, str]]]
"""Gives the metrics and their content type."""


def create(platform: Platform, *, observe: Observe, exposition: Exposition) -> FastAPI:
    """The control plane's HTTP application."""
    app = FastAPI(
        title="Modelyard",
        version=platform.version,
        description="Turn a trained model into a dependable service.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.state.exposition = exposition
    app.state.turns = Turns()
    # Included once and one by one, FastAPI makes each router's routes when it is first asked for one of them;
    # the small ones stand first, so that the start waits for no other.
    for router in (system.health, console.router, docs.router):
        app.include_router(router)
    for module in (projects, models, uploads, runtimes, deployments, endpoints, accounts, system):
        app.include_router(module.router, prefix=PREFIX)
    problems.add_to(app)
    app.add_middleware(Envelope, new_id=platform.new_id, observe=observe)
    return app


def openapi(app: FastAPI) -> dict[str, object]:
    """The API's description, as served at `/api/openapi.json`."""
    return get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
