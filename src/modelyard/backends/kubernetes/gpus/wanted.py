"""What a launch asks of GPUs, by the way of this cluster that serves it."""

from __future__ import annotations

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.gpus.fragment import Fragment, Refusal
from modelyard.backends.kubernetes.gpus.strategies import pods_of
from modelyard.domain import gpu
from modelyard.domain.errors import BackendError
from modelyard.domain.gpu import GpuRequest


def gpus_of(launch: Launch, capabilities: Capabilities) -> Fragment:
    """What is added to its pods. Raises BackendError when the cluster no longer has a way to serve it."""
    return gpus_for(gpu.parse(launch.spec.resources.gpu, "spec.resources.gpu"), capabilities)


def gpus_for(wanted: GpuRequest, capabilities: Capabilities) -> Fragment:
    """What is added to a pod that asks for this. Raises BackendError when no way of the cluster serves it."""
    found = pods_of(wanted, capabilities)
    if isinstance(found, Refusal):
        raise BackendError(found.message, reason="InsufficientResources", retryable=False)
    return found
