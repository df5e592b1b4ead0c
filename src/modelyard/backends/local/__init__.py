"""The embedded backend: replicas as processes of this machine, runtimes as directories."""

from modelyard.backends.local.backend import LocalBackend
from modelyard.backends.local.environments import LocalEnvironments
from modelyard.backends.local.nodes import Capacity
from modelyard.backends.local.options import Options

__all__ = ["Capacity", "LocalBackend", "LocalEnvironments", "Options"]
