"""What clients can ask of a front, a module for each family of paths; one endpoint for each path."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.config import ReplicaConfig
from modelyard.serving.faces import probes, repository, rows, v2
from modelyard.serving.routing import Route


def all_routes(application: Application, config: ReplicaConfig, *, version: str) -> Mapping[str, Route]:
    """Every path that a front answers; `version` is that of the server."""
    drain_seconds = config.limits.drain_seconds
    return {
        **rows.routes(application),
        **v2.routes(application),
        **repository.routes(application, drain_seconds=drain_seconds, control=config.model_control),
        # Last, so that no model's name can hide them.
        **probes.routes(application, version=version),
    }
