"""What containers find: variables, volumes and what `$(NAME)` stands for, as the kubelet makes them."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand

_ROOTS = tuple(dict.fromkeys((str(Path(__file__).parents[4]), sys.prefix, sys.base_prefix)))
"""Where the programs are that stand for images."""
_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")


class ConfigMissing(Exception):
    """Something that a container reads from is not there; the message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class Image:
    """What stands for an image: programs of this machine."""

    path: str
    """PATH of its programs."""
    env: Mapping[str, str]
    command: tuple[str, ...] = ()
    """What it runs when the pod says nothing."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with `$(NAME)` filled in and `$$` for a dollar; what is unknown stays."""

    def one(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(one, text)


def variables(hand: Hand, pod: Object, container: Object, image: Image) -> dict[str, str]:
    """The container's whole environment."""
    namespace = pod["metadata"]["namespace"]
    env = {"PATH": image.path, "HOSTNAME": pod["metadata"]["name"], "HOME": "/root", **image.env}
    for each in container.get("envFrom", ()):
        kind, name = (
            ("Secret", each["secretRef"]) if "secretRef" in each else ("ConfigMap", each["configMapRef"])
        )
        env |= _data(hand, kind, namespace, name["name"])
    for each in container.get("env", ()):
        env[each["name"]] = _value(hand, pod, each, env)
    return env


def _value(hand: Hand, pod: Object, each: Object, env: Mapping[str, str]) -> str:
    source = each.get("valueFrom")
    if source is None:
        return expand(each.get("value", ""), env)
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return "0"
    kind, named = (
        ("Secret", source["secretKeyRef"])
        if "secretKeyRef" in source
        else ("ConfigMap", source["configMapKeyRef"])
    )
    data = _data(hand, kind, namespace, named["name"])
    if named["key"] not in data:
        raise ConfigMissing(f"couldn't find key {named['key']} in {kind} {namespace}/{named['name']}")
    return data[named["key"]]


def _field(pod: Object, path: str) -> str:
    metadata, status = pod["metadata"], pod.get("status", {})
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.podIP": status.get("podIP", ""), "status.hostIP": status.get("hostIP", ""),
    }  # fmt: skip
    return str(known[path])


def _data(hand: Hand, kind: str, namespace: str, name: str) -> dict[str, str]:
    return {key: value.decode() for key, value in _bytes(hand, kind, namespace, name).items()}


def _bytes(hand: Hand, kind: str, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    found = hand.get(kind, (namespace, name))
    if found is None and optional:
        return {}
    if found is None:
        raise ConfigMissing(f'{kind.lower()} "{name}" not found')
    data = found.get("data") or {}
    return {k: base64.b64decode(v) if kind == "Secret" else v.encode() for k, v in data.items()}


def volumes(hand: Hand, pod: Object, home: Path) -> dict[str, Path]:
    """A directory for each of the pod's volumes, filled as it says."""
    found: dict[str, Path] = {}
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes", ()):
        directory = home / "volumes" / volume["name"]
        if "hostPath" in volume:
            directory = Path(volume["hostPath"]["path"])
        elif "persistentVolumeClaim" in volume:
            directory = home.parent / "claims" / namespace / volume["persistentVolumeClaim"]["claimName"]
        directory.mkdir(parents=True, exist_ok=True)
        for kind, key, named in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
            if key in volume:
                said = volume[key]
                optional = said.get("optional", False)
                data = _bytes(hand, kind, namespace, said[named], optional=optional)
                _fill(directory, data, said.get("items", ()))
        found[volume["name"]] = directory
    return found


def _fill(directory: Path, data: Mapping[str, bytes], items: Iterable[Mapping[str, str]]) -> None:
    chosen = {each["path"]: data[each["key"]] for each in items} or data
    for name, text in chosen.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(text)


def mounts(container: Object, places: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Where the container finds its volumes."""
    found = []
    for each in container.get("volumeMounts", ()):
        source = places[each["name"]]
        if each.get("subPath"):
            source = source / each["subPath"]
            if not source.exists():
                source.mkdir(parents=True)
        found.append(
            {"path": each["mountPath"], "source": str(source), "read_only": each.get("readOnly", False)}
        )
    return found + _hidden(found)


def _hidden(laid: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What stands for images, where a volume would hide it: a checkout below /tmp, say."""
    paths = [f"{each['path'].rstrip('/')}/" for each in laid]
    return [
        {"path": root, "source": root, "read_only": False}
        for root in _ROOTS
        if any(root.startswith(path) for path in paths)
    ]
