"""Every method that calls may be for."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.grpc import health, reflection, service
from modelyard.serving.grpc.calls import Method


def all_methods(application: Application) -> Mapping[str, Method]:
    """Every method by its path."""
    return {**service.methods(application), **health.methods(application), **reflection.methods()}
