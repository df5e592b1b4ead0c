"""What clients can ask of a front, a module for each family of paths; one endpoint for each path."""

from __future__ import annotations

import os
from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.config import ReplicaConfig
from modelyard.serving.faces import (
    comparisons,
    extensions,
    inside,
    invocations,
    openai,
    probes,
    repository,
    rows,
    shared_memory,
    v1,
    v2,
)
from modelyard.serving.routing import Named, Route


def all_routes(application: Application, config: ReplicaConfig, *, version: str) -> Mapping[str, Route]:
    """Every path that a front answers; `version` is that of the server."""
    drain_seconds, admit = config.limits.drain_seconds, inside.admission(config.platform_sha256)
    return {
        **shared_memory.routes(application),
        **extensions.routes(application),
        **rows.routes(application),
        **v2.routes(application),
        **v1.routes(application),
        **openai.routes(application),
        **invocations.routes(application, os.environ, version=version),
        **repository.routes(application, drain_seconds=drain_seconds, control=config.model_control),
        # Last, so that no model's name can hide them.
        **comparisons.routes(application, admit),
        **inside.routes(application, admit),
        **probes.routes(application, version=version),
    }


def named_routes(application: Application) -> Mapping[str, Named]:
    """Paths that go on with names which clients give."""
    return shared_memory.named(application)
