"""The application: every route, every error, one middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from modelyard.api import (
    accounts,
    artifacts,
    certificate,
    console,
    deployments,
    descriptions,
    docs,
    endpoints,
    lifecycle,
    models,
    problems,
    projects,
    repository,
    rollouts,
    runtimes,
    secrets,
    shells,
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
    app = Described(
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
    for router in (system.health, console.router, docs.router, repository.router):
        app.include_router(router)
    for module in (
        projects,
        models,
        uploads,
        runtimes,
        secrets,
        deployments,
        lifecycle,
        rollouts,
        shells,
        endpoints,
        artifacts,
        accounts,
        certificate,
        system,
    ):
        app.include_router(module.router, prefix=PREFIX)
    problems.add_to(app)
    app.add_middleware(Envelope, new_id=platform.new_id, observe=observe)
    return app


class Described(FastAPI):
    """An application whose description knows what multipart requests carry, and what fields mean."""

    def openapi(self) -> dict[str, Any]:
        """The API's description, as served at `/api/openapi.json`."""
        if not self.openapi_schema:
            document = super().openapi()
            document["components"]["schemas"] = uploads.schemas() | document["components"]["schemas"]
            descriptions.describe(document)
        return self.openapi_schema or {}
