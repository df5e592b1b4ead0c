"""What an API server says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelyard.domain.errors import BackendError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
"""An answer with everything at once; servers that do not know it answer as they always did."""


_CUSTOM_METRICS = "custom.metrics.k8s.io/"
"""Its resources are metrics of something: `pods/gpu_utilization`."""


def version(document: Mapping[str, Any]) -> tuple[int, int]:
    """Out of `/version`; vendors write their minor as `31+`."""
    digits = [re.match(r"\d+", str(document.get(part, ""))) for part in ("major", "minor")]
    major, minor = (int(found[0]) if found else None for found in digits)
    if major is None or minor is None:
        raise BackendError("this is no Kubernetes API server: /version has no numbers", retryable=False)
    return major, minor


def aggregated(document: Mapping[str, Any]) -> frozenset[str] | None:
    """What is served, out of one answer for all groups; None from a server that does not answer so."""
    if document.get("kind") != "APIGroupDiscoveryList":
        return None
    return frozenset(
        f"{_group_version(group['metadata'].get('name', ''), served['version'])}/{each['resource']}"
        for group in document.get("items") or ()
        for served in group.get("versions") or ()
        for each in served.get("resources") or ()
    )


def versions(groups: Mapping[str, Any]) -> tuple[str, ...]:
    """The places of every version of every group, out of `/apis`."""
    return tuple(
        f"/apis/{each['groupVersion']}"
        for group in groups.get("groups") or ()
        for each in group.get("versions") or ()
    )


def plurals(listed: Mapping[str, Any]) -> set[str]:
    """What one version of a group serves, without subresources."""
    return {
        f"{listed['groupVersion']}/{each['name']}"
        for each in listed.get("resources") or ()
        if "/" not in each["name"] or listed["groupVersion"].startswith(_CUSTOM_METRICS)
    }


def _group_version(group: str, served: str) -> str:
    return f"{group}/{served}" if group else served
