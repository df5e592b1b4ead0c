"""What an API server would refuse of values, or no node could pull: names, amounts, addresses, images."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from modelyard.domain import naming, quantity
from modelyard.domain.errors import Invalid
from modelyard.installing.values import Images, Values

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = re.compile(rf"(?:{_HOST}|{_PART})(?:/{_PART})*")
_IMAGE = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")
_ENTRY = {"name", "value", "valueFrom"}

Wrong = Iterator[tuple[str, str]]
"""The value's name, and what is wrong with it."""


def wrong(values: Values) -> Wrong:
    """Everything of that kind, each with its remedy."""
    yield from _names(values)
    yield from _amounts(values)
    yield from _images(values.images)
    yield from _environment(values.control_plane.env)
    if values.bind.ip and not _is_ip(values.bind.ip):
        yield "bind.ip", f"{values.bind.ip[:60]!r} is no IP address; write one such as 192.0.2.7"


def _names(values: Values) -> Wrong:
    yield from _said("namespace", partial(naming.require_name, values.namespace, ""))
    yield from _said("namespace_prefix", partial(naming.require_name, values.namespace_prefix, ""))
    for path, kind, name in (
        ("gateway_class", "GatewayClass", values.gateway_class),
        ("images.pull_secret", "Secret", values.images.pull_secret),
        ("database.secret", "Secret", values.database.secret),
        ("artifacts.secret", "Secret", values.artifacts.secret),
        ("storage.class_name", "StorageClass", values.storage.class_name),
        ("kubernetes.cache_class", "StorageClass", values.kubernetes.cache_class),
    ):
        if name and not naming.is_subdomain(name):
            yield path, f"{name[:60]!r} is no name of a {kind}; `kubectl get {kind.lower()}` lists those"


def _amounts(values: Values) -> Wrong:
    for name, pods in (("control_plane", values.control_plane), ("routers", values.routers)):
        yield from _said(f"{name}.cpu", partial(quantity.parse_cpu, pods.cpu, ""))
        yield from _said(f"{name}.memory", partial(quantity.parse_memory, pods.memory, ""))
    size = values.storage.size
    unreadable = tuple(_said("storage.size", partial(quantity.parse_memory, size, "")))
    yield from unreadable
    if not unreadable and not quantity.parse_memory(size, ""):
        yield "storage.size", "must be more than nothing, such as 20Gi"


def _images(images: Images) -> Wrong:
    if not _REGISTRY.fullmatch(images.registry):
        yield (
            "images.registry",
            f"{images.registry[:60]!r} names no images; write a registry and a path in it, without a "
            "scheme, such as registry.local:5000/modelyard",
        )
    if not _TAG.fullmatch(images.tag):
        yield "images.tag", f"{images.tag[:60]!r} is no tag; write letters, digits, dots, - and _"
    if not _IMAGE.fullmatch(images.serving):
        yield "images.serving", f"{images.serving[:60]!r} names no image; write such as serving-cuda"


def _environment(entries: list[dict[str, Any]]) -> Wrong:
    path = "control_plane.env"
    for entry in entries:
        if why := _entry(entry):
            yield path, why
    for name, count in Counter(str(entry.get("name")) for entry in entries if entry.get("name")).items():
        if count > 1:
            yield path, f"{name[:60]} is there {'twice' if count == 2 else f'{count} times'}; keep one"


def _entry(entry: Mapping[str, Any]) -> str:
    """What is wrong with one variable; empty when nothing is."""
    name, value = entry.get("name"), "" if entry.get("value") is None else entry["value"]
    odd = sorted(map(str, entry.keys() - _ENTRY))
    why = ""
    if not name:
        why = "every entry needs a `name`, and a `value` or `valueFrom`"
    elif not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        why = f"{str(name)[:60]!r} is no name of a variable; write letters, digits and _"
    elif odd:
        why = f"{name} has {odd[0][:60]}; an entry has a `name`, and a `value` or `valueFrom`"
    elif not isinstance(value, str):
        why = f'{name} has a value that is no text; write "{str(value).lower()[:60]}" with its quotes'
    elif not isinstance(entry.get("valueFrom", {}), Mapping):
        why = (
            f"{name} has a valueFrom that is no mapping; write such as {{secretKeyRef: {{name: …, key: …}}}}"
        )
    elif "valueFrom" in entry and value:
        why = f"{name} has a value and a valueFrom; give one, not both"
    return why


def _said(path: str, check: Callable[[], object]) -> Wrong:
    try:
        check()
    except Invalid as error:
        yield from ((path, each.message) for each in error.errors)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
