"""What is laid into a replica from outside: directories of the machine, memory, configuration, secrets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import naming, quantity, wire
from modelyard.domain.errors import FieldError, Invalid

_MOUNT = re.compile(r"([^(),;]*)\(([a-z]+)\):(/[^,;]*)")
_MOST_LISTED = 10
_OF_PODS = ("/models", "/variant", "/runtime", "/run/modelyard", "/etc/modelyard")
"""What the platform lays into every pod and reads there itself."""
_OTHER_NAMES = {"hostpath": "host", "configmap": "config"}


class MountKind(StrEnum):
    """Where a mount comes from."""

    HOST = "host"
    """A directory or file of the machine; only administrators may ask for it."""
    MEMORY = "memory"
    """An empty directory that lives in memory."""
    CONFIG = "config"
    """The deployment's own configuration files, or one of them."""
    SECRET = "secret"  # noqa: S105 - a kind, not a secret
    """A secret of the project; else one that who runs the machine or the cluster has laid there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One thing laid into a replica."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    kind: MountKind
    path: str
    """Where it appears, such as `/data`."""
    source: str = ""
    """Of `host` an absolute path; of `config` a file's name or nothing; of `secret` its name."""
    size: str = "0"
    """Of `memory`, such as `1Gi`."""

    @property
    def variable(self) -> str:
        """What tells a replica where to find it: for `/data/in` MODELYARD_MOUNT_DATA_IN."""
        return "MODELYARD_MOUNT_" + re.sub(r"[^A-Za-z0-9]+", "_", self.path).strip("_").upper()

    @property
    def place(self) -> str:
        """Its path in one way of writing: `/data/` and `//data` are `/data`."""
        return "/" + "/".join(part for part in self.path.split("/") if part not in ("", "."))


def parse(text: str, path: str = "mounts") -> tuple[Mount, ...]:
    """Mounts from `SOURCE(KIND):/PATH`, separated by `,` or `;`. Raises Invalid that names `path`."""
    return tuple(_one(part.strip(), path) for part in re.split(r"[,;\n]", text) if part.strip())


def errors(mounts: Sequence[Mount], path: str) -> list[FieldError]:
    """What is wrong with the mounts, each with its remedy."""
    found = [
        FieldError(f"{path}[{number}].{field}", message)
        for number, mount in enumerate(mounts)
        for field, message in _wrong(mount)
    ]
    places = [f"{mount.path.rstrip('/')}/" for mount in mounts]
    for number, place in enumerate(places):
        others = places[:number]
        if any(place.startswith(other) or other.startswith(place) for other in others):
            found.append(FieldError(f"{path}[{number}].path", "lies in another mount; choose another path"))
        elif mounts[number].variable in {other.variable for other in mounts[:number]}:
            found.append(FieldError(f"{path}[{number}].path", "is too like another; choose another path"))
    return found


def config_errors(mounts: Sequence[Mount], files: Collection[str], path: str) -> list[FieldError]:
    """What mounts of configuration want of these files that is not there, each with its remedy."""
    listed = ", ".join(sorted(files)[:_MOST_LISTED]) or "none"
    return [
        FieldError(
            f"{path}[{number}].source",
            f"{f'is {mount.source}, and ' if mount.source else ''}the deployment has of configuration files "
            f"{listed}; write it into `config_files`, or leave the mount out",
        )
        for number, mount in enumerate(mounts)
        if mount.kind is MountKind.CONFIG and (mount.source not in files if mount.source else not files)
    ]


def refused_in_pod(mount: Mount) -> str:
    """Why no pod can have it where it is to be, and what to do; empty when one can.

    Nothing is in the way where replicas are processes: there it is told by name where a mount is.
    """
    if ":" in mount.path:
        return "has a `:`, which no path in a pod may have; leave it out"
    ours = next((each for each in _OF_PODS if f"{mount.place}/".startswith(f"{each}/")), "")
    return f"is in {ours}, which is the platform's own in a pod; choose another path" if ours else ""


def of_host(mounts: Sequence[Mount]) -> frozenset[Mount]:
    """The mounts that only an administrator may ask for."""
    return frozenset(mount for mount in mounts if mount.kind is MountKind.HOST)


def _one(text: str, path: str) -> Mount:
    found = _MOUNT.fullmatch(text)
    kind = _OTHER_NAMES.get(found[2], found[2]) if found else ""
    if found is None or kind not in tuple(MountKind):
        kinds = ", ".join(MountKind)
        message = f"{text[:70]!a} is not a mount; write SOURCE(KIND):/PATH with a KIND of {kinds}"
        raise Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
    source, place = found[1].strip(), found[3].strip()
    if kind == MountKind.MEMORY:
        return Mount(kind=MountKind.MEMORY, path=place, size=_size(source))
    return Mount(kind=MountKind(kind), path=place, source=source)


def _size(text: str) -> str:
    """`3G` of old, which means `3Gi`."""
    return f"{text}i" if re.fullmatch(r"[0-9.]+[KMGT]", text) else text or "0"


def _wrong(mount: Mount) -> Iterator[tuple[str, str]]:
    if not _is_plain(mount.path) or not re.search(r"[A-Za-z0-9]", mount.path):
        yield "path", "must be an absolute path without `..`, such as `/data`"
    if message := _wrong_source(mount):
        yield "source", message
    try:
        quantity.parse_memory(mount.size, "size")
    except Invalid as error:
        yield "size", error.errors[0].message


def _wrong_source(mount: Mount) -> str:
    match mount.kind:
        case MountKind.HOST if not _is_plain(mount.source):
            return "must be an absolute path of the machine without `..`"
        case MountKind.SECRET if not naming.is_name(mount.source):
            return "must be the name of a secret: lower-case letters, digits and hyphens"
        case MountKind.CONFIG if mount.source and naming.file_name_errors({mount.source: ""}, ""):
            return "must be the name of one of the deployment's configuration files, or empty"
        case MountKind.MEMORY if mount.source:
            return "must be empty: memory comes from nowhere; its size is `size`"
        case _:
            return ""


def _is_plain(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and path.isprintable() and len(path) <= 500
