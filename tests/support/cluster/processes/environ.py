"""What containers find in their environment, and what `$(NAME)` stands for, as the kubelet makes them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.cluster.store import Name, Object
from tests.support.cluster.writing import Hand

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
        return field(pod, source["fieldRef"]["fieldPath"])
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


def field(pod: Object, path: str) -> str:
    """What a pod says of itself at a path of the downward API."""
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
    return {key: value.decode() for key, value in content(hand, kind, (namespace, name)).items()}


def content(hand: Hand, kind: str, name: Name, *, optional: bool = False) -> dict[str, bytes]:
    """The data of a Secret or a ConfigMap; ConfigMissing where there is none and it is not optional."""
    found = hand.get(kind, name)
    if found is None and optional:
        return {}
    if found is None:
        raise ConfigMissing(f'{kind.lower()} "{name[1]}" not found')
    data = found.get("data") or {}
    return {k: base64.b64decode(v) if kind == "Secret" else v.encode() for k, v in data.items()}
