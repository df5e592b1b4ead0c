"""What users have laid into a replica, as volumes of the pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.domain import quantity
from modelyard.domain.mounts import Mount, MountKind

_PRIVATE = 0o440
"""Files that the pod's own user reads by its group, and nobody else."""


def volumes(wanted: Sequence[Mount], *, config: str, secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """The pod's volumes; `config` is the ConfigMap with the deployment's own files.

    `secrets` are the Secrets with what it may read of the project's, by the names of those.
    """
    return [{"name": _name(number), **source} for number, source in _sources(wanted, config, secrets)]


def mounts(wanted: Sequence[Mount]) -> list[dict[str, Any]]:
    """Where the container finds them; what comes from outside is not to be changed."""
    return [
        {
            "name": _name(number),
            "mountPath": mount.path,
            **({"readOnly": True} if mount.kind in (MountKind.CONFIG, MountKind.SECRET) else {}),
            **({"subPath": mount.source} if mount.kind is MountKind.CONFIG and mount.source else {}),
        }
        for number, mount in enumerate(wanted)
    ]


def _sources(
    wanted: Sequence[Mount], config: str, secrets: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, mount in enumerate(wanted):
        match mount.kind:
            case MountKind.HOST:
                yield number, {"hostPath": {"path": mount.source}}
            case MountKind.MEMORY:
                size = quantity.parse_memory(mount.size, "mounts.size")
                limit = {"sizeLimit": str(size)} if size else {}
                yield number, {"emptyDir": {"medium": "Memory", **limit}}
            case MountKind.CONFIG:
                yield number, {"configMap": {"name": config}}
            case MountKind.SECRET if mount.source in secrets:
                yield number, {"secret": {"secretName": secrets[mount.source], "defaultMode": _PRIVATE}}
            case MountKind.SECRET:
                yield number, {"secret": {"secretName": mount.source}}


def _name(number: int) -> str:
    return f"mount-{number}"
