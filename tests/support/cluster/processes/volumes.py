"""The volumes of pods, as directories of this machine, and where containers find them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.cluster.processes import environ
from tests.support.cluster.processes.environ import ConfigMissing
from tests.support.cluster.store import Name, Object
from tests.support.cluster.writing import Hand

_ROOTS = tuple(dict.fromkeys((str(Path(__file__).parents[4]), sys.prefix, sys.base_prefix)))
"""Where the programs are that stand for images."""
_TOKEN_SECONDS = 3600
Source = Mapping[str, Any]


class ImageMissing(Exception):
    """An image cannot be pulled; the message is its name."""


class VolumeBroken(Exception):
    """A container cannot be made over its volumes; the message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Directories that outlive pods; who tests puts some in, for claims by namespace and name."""

    home: Path
    """Claims and images that nobody gave a directory are below it."""
    claims: dict[Name, Path] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    """What is in an image, by its whole name, for volumes made of images."""

    def claim(self, name: Name) -> Path:
        """The directory of a claim, which is empty at first."""
        return self.claims.get(name) or self.home / "claims" / name[0] / name[1]

    def image(self, reference: str) -> Path:
        """The files of an image; ImageMissing when it cannot be pulled."""
        found = self.images.get(reference) or self.home / "images" / quote(reference, safe="")
        if not found.is_dir():
            raise ImageMissing(reference)
        return found


@dataclass(frozen=True, slots=True)
class Laid:
    """One volume of a pod."""

    directory: Path
    read_only: bool = False
    is_image: bool = False


@dataclass(frozen=True, slots=True)
class Volumes:
    """What makes the volumes of one pod."""

    hand: Hand
    pod: Object
    home: Path
    """The pod's own directory."""
    storage: Storage

    def laid(self) -> dict[str, Laid]:
        """A directory for each of the pod's volumes, filled as it says."""
        return {each["name"]: self._laid(each) for each in self.pod["spec"].get("volumes", ())}

    def _laid(self, volume: Source) -> Laid:
        match volume:
            case {"hostPath": {"path": path}}:
                return _made(Laid(Path(path)))
            case {"persistentVolumeClaim": claim}:
                return self._claimed(claim)
            case {"image": {"reference": reference}}:
                return Laid(self.storage.image(reference), read_only=True, is_image=True)
        own = _made(Laid(self.home / "volumes" / volume["name"], read_only="emptyDir" not in volume))
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            _fill(own.directory, self._files(source))
        return own

    def _claimed(self, claim: Source) -> Laid:
        name = (self.pod["metadata"]["namespace"], claim["claimName"])
        if self.hand.get("PersistentVolumeClaim", name) is None:
            raise ConfigMissing(f'persistentvolumeclaim "{name[1]}" not found')
        return _made(Laid(self.storage.claim(name), read_only=bool(claim.get("readOnly"))))

    def _files(self, source: Source) -> dict[str, bytes]:
        """What a source of files says that there is, by path; nothing for a directory that begins empty."""
        match source:
            case {"secret": said}:
                return self._chosen("Secret", said.get("secretName") or said.get("name"), said)
            case {"configMap": said}:
                return self._chosen("ConfigMap", said["name"], said)
            case {"downwardAPI": said}:
                return {each["path"]: self._told(each) for each in said.get("items", ())}
            case {"serviceAccountToken": said}:
                return {said["path"]: self._token(said)}
            case {"emptyDir": _}:
                return {}
        raise VolumeBroken(f"this kubelet has no volumes of {sorted(source.keys() - {'name'})}")

    def _chosen(self, kind: str, name: str, said: Source) -> dict[str, bytes]:
        namespace = self.pod["metadata"]["namespace"]
        optional = bool(said.get("optional"))
        data = environ.content(self.hand, kind, (namespace, name), optional=optional)
        items = said.get("items") or ()
        missing = [each["key"] for each in items if each["key"] not in data]
        if missing and not optional:
            raise ConfigMissing(f"references non-existent {kind.lower()} key: {missing[0]}")
        if not items:
            return data
        return {each["path"]: data[each["key"]] for each in items if each["key"] in data}

    def _told(self, item: Source) -> bytes:
        if "fieldRef" not in item:
            return b"0"
        path = item["fieldRef"]["fieldPath"]
        if path in ("metadata.labels", "metadata.annotations"):
            found = self.pod["metadata"].get(path.partition(".")[2]) or {}
            return "\n".join(f"{key}={json.dumps(found[key])}" for key in sorted(found)).encode()
        return environ.field(self.pod, path).encode()

    def _token(self, said: Source) -> bytes:
        """In the form of a token of a service account; nobody signed it."""
        metadata = self.pod["metadata"]
        account = self.pod["spec"].get("serviceAccountName") or "default"
        claims = {
            "aud": [said.get("audience") or "https://kubernetes.default.svc"],
            "exp": int(self.hand.cluster.store.clock()) + said.get("expirationSeconds", _TOKEN_SECONDS),
            "sub": f"system:serviceaccount:{metadata['namespace']}:{account}",
        }
        parts = (json.dumps(each).encode() for each in ({"alg": "none"}, claims))
        return b".".join([*(base64.urlsafe_b64encode(each).rstrip(b"=") for each in parts), b""])


def _made(laid: Laid) -> Laid:
    laid.directory.mkdir(parents=True, exist_ok=True)
    return laid


def _fill(directory: Path, data: Mapping[str, bytes]) -> None:
    for name, text in data.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(text)


def mounts(container: Object, volumes: Mapping[str, Laid]) -> list[dict[str, Any]]:
    """Where the container finds its volumes."""
    found = []
    for each in container.get("volumeMounts", ()):
        volume = volumes[each["name"]]
        source = _below(volume, each.get("subPath", ""))
        read_only = volume.read_only or bool(each.get("readOnly"))
        found.append({"path": each["mountPath"], "source": str(source), "read_only": read_only})
    return found + _hidden(found)


def _below(volume: Laid, path: str) -> Path:
    source = volume.directory / path
    if not source.exists():
        if volume.read_only:
            raise VolumeBroken(f'failed to create subPath directory for volumeMount: no "{path}"')
        source.mkdir(parents=True)
    return source


def _hidden(laid: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What stands for images, where a volume would hide it: a checkout below /tmp, say."""
    paths = [f"{each['path'].rstrip('/')}/" for each in laid]
    return [
        {"path": root, "source": root, "read_only": False}
        for root in _ROOTS
        if any(root.startswith(path) for path in paths)
    ]
