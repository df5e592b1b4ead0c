"""What no schema says and the API server refuses all the same."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import selected

Object = dict[str, Any]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_RULES = {
    1123: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    1035: "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character",
}
_RESTART = "spec.template.spec.restartPolicy"
_MOST_STORED = 1 << 20
_TEMPLATED = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "Job"})


def problems(resource: Resource, value: Object, before: Object | None) -> Iterator[str]:
    """Everything that is wrong, each with its field."""
    yield from _metadata(resource, value["metadata"])
    spec = value.get("spec") or {}
    if resource.kind in _TEMPLATED:
        yield from _template(resource.kind, spec)
    if resource.kind == "Pod":
        yield from _pod(spec, "spec")
    if resource.kind == "HorizontalPodAutoscaler" and spec.get("minReplicas", 1) > spec.get("maxReplicas", 0):
        yield "spec.maxReplicas: Invalid value: must be greater than or equal to `minReplicas`"
    if resource.kind == "Service":
        yield from _ports(spec)
    if resource.kind in ("Secret", "ConfigMap") and _stored(resource.kind, value) > _MOST_STORED:
        where = "data" if resource.kind == "Secret" else "[]"
        yield f"{where}: Too long: may not be more than {_MOST_STORED} bytes"
    if before is not None:
        yield from _immutable(resource, value, before)


def _stored(kind: str, value: Object) -> int:
    """Bytes of everything that an object keeps for others."""
    plain = (value.get("data") or {}) if kind == "ConfigMap" else {}
    coded = value.get("binaryData" if kind == "ConfigMap" else "data") or {}
    sizes = [len(text.encode()) for text in plain.values()]
    return sum(sizes) + sum(len(base64.b64decode(text)) for text in coded.values() if isinstance(text, str))


def _metadata(resource: Resource, metadata: Mapping[str, Any]) -> Iterator[str]:
    name = metadata.get("name", "")
    short = resource.kind in ("Service", "Namespace")
    form, rule = (_LABEL_1035, 1035) if resource.kind == "Service" else (_SUBDOMAIN, 1123)
    if not form.match(name) or len(name) > (63 if short else 253):
        yield f'metadata.name: Invalid value: "{name}": {_RULES[rule]}'
    for key, label in (metadata.get("labels") or {}).items():
        if not isinstance(label, str) or not _LABEL_VALUE.match(label) or len(label) > 63:
            yield (
                f'metadata.labels: Invalid value: "{label}": a valid label must be empty or consist '
                "of alphanumeric characters, '-', '_' or '.', beginning and ending with one"
            )
        if len(key.rpartition("/")[2]) > 63:
            yield f'metadata.labels: Invalid value: "{key}": name part must be no more than 63 characters'


def _template(kind: str, spec: Mapping[str, Any]) -> Iterator[str]:
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if kind != "Job":
        selector = spec.get("selector") or {}
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield "spec.selector: Required value"
        elif not selected(labels, selector):
            yield (
                f"spec.template.metadata.labels: Invalid value: {labels}: "
                "`selector` does not match template `labels`"
            )
    yield from _pod(template.get("spec") or {}, "spec.template.spec")
    restart = (template.get("spec") or {}).get("restartPolicy", "Always")
    if kind == "Job" and restart == "Always":
        yield f'{_RESTART}: Unsupported value: "Always": supported values: "OnFailure", "Never"'
    if kind == "Deployment" and restart != "Always":
        yield f'{_RESTART}: Unsupported value: "{restart}": supported values: "Always"'


def _pod(spec: Mapping[str, Any], path: str) -> Iterator[str]:
    if not spec.get("containers"):
        yield f"{path}.containers: Required value"
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield from _container(container, volumes, f"{path}.{group}[{index}]")


def _container(container: Mapping[str, Any], volumes: set[str], path: str) -> Iterator[str]:
    name = str(container.get("name", ""))
    if not _LABEL.match(name):
        yield f'{path}.name: Invalid value: "{name}": a lowercase RFC 1123 label must be used'
    if not container.get("image"):
        yield f"{path}.image: Required value"
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f'{path}.volumeMounts: Not found: "{mount.get("name")}"'
        if ":" in mount.get("mountPath", ""):
            where = f"{path}.volumeMounts[{index}].mountPath"
            yield f"{where}: Invalid value: \"{mount['mountPath']}\": must not contain ':'"
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    yield from _amounts(limits, requests, f"{path}.resources")


def _amounts(limits: Mapping[str, Any], requests: Mapping[str, Any], path: str) -> Iterator[str]:
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            yield from _amount(name, amount, f"{path}.{kind}[{name}]")
    for name, amount in requests.items():
        if name not in limits:
            if "/" in name:
                yield f"{path}.limits: Required value: Limit must be set for non overcommitable resources"
            continue
        wanted, most = _read(amount), _read(limits[name])
        if "/" in name and wanted != most:
            yield f"{path}.requests: Invalid value: {amount}: must be equal to {name} limit"
        elif wanted > most:
            yield f"{path}.requests: Invalid value: {amount!r}: must be less than or equal to {name} limit"


def _amount(name: str, amount: Any, path: str) -> Iterator[str]:
    try:
        value = quantities.parse(amount)
    except ValueError as error:
        yield f"{path}: Invalid value: {amount!r}: {error}"
        return
    if value < 0:
        yield f"{path}: Invalid value: {amount!r}: must be greater than or equal to 0"
    if "/" in name and value != value.to_integral_value():
        yield f"{path}: Invalid value: {amount!r}: must be an integer"


def _read(amount: Any) -> Any:
    try:
        return quantities.parse(amount)
    except ValueError:
        return 0


def _ports(spec: Mapping[str, Any]) -> Iterator[str]:
    ports = spec.get("ports") or ()
    for index, port in enumerate(ports):
        if not 1 <= port.get("port", 0) <= 65_535:
            yield f"spec.ports[{index}].port: Invalid value: {port.get('port')}: must be between 1 and 65535"
        node = port.get("nodePort")
        if node and not 30_000 <= node <= 32_767:
            yield (
                f"spec.ports[{index}].nodePort: Invalid value: {node}: "
                "provided port is not in the valid range. The range of valid ports is 30000-32767"
            )
        if len(ports) > 1 and not port.get("name"):
            yield f"spec.ports[{index}].name: Required value"


def _immutable(resource: Resource, value: Object, before: Object) -> Iterator[str]:
    old, new = before.get("spec") or {}, value.get("spec") or {}
    fields = {
        "Deployment": ("selector",),
        "ReplicaSet": ("selector",),
        "StatefulSet": ("selector", "serviceName"),
        "Job": ("selector", "template", "completionMode"),
        "PersistentVolumeClaim": ("accessModes", "storageClassName"),
    }.get(resource.kind, ())
    for name in fields:
        if old.get(name) != new.get(name) and not (name == "template" and old.get("suspend")):
            yield f"spec.{name}: Invalid value: field is immutable"
    sealed = resource.kind in ("ConfigMap", "Secret") and before.get("immutable")
    if sealed and any(before.get(key) != value.get(key) for key in ("data", "binaryData")):
        yield "data: Forbidden: field is immutable when `immutable` is set"
    if resource.kind == "Secret" and before.get("type", "Opaque") != value.get("type", "Opaque"):
        yield "type: Invalid value: field is immutable"
