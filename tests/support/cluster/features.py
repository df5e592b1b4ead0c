"""Features that a version of Kubernetes has off unless somebody turns them on: their fields are dropped."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Object

_IMAGE_VOLUMES = (1, 35)


def problems(version: str, resource: Resource, value: Object) -> Iterator[str]:
    """What is wrong with an object once the fields of such features are not there."""
    major, minor = map(int, version.split("."))
    if resource.kind == "Pod" and (major, minor) < _IMAGE_VOLUMES:
        for number, volume in enumerate(value.get("spec", {}).get("volumes", ())):
            if "image" in volume:
                yield f"spec.volumes[{number}]: Required value: must specify a volume type"
