"""What an installation on a cluster may choose: the values of `render`, `install` and the Helm chart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from modelyard import __version__
from modelyard.backends.kubernetes.images import REGISTRY
from modelyard.domain import documents
from modelyard.domain.errors import FieldError, Invalid
from modelyard.installing.settled import Artifacts, Kubernetes, Limits, Runtimes, Scaling

_STRICT: dict[str, object] = {"extra": "forbid", "defer_build": True}
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Where the images of Modelyard are."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    registry: str = REGISTRY
    """Registry, and path in it, such as `registry.local:5000/modelyard`."""
    tag: str = __version__
    """Which release."""
    serving: str = "serving"
    """Which image Modelyard's own server is by default; `serving-cuda` is the one for NVIDIA GPUs."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull them."""
    pull_secret: str = ""
    """Secret of the platform's namespace with the registry's credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where records are kept: SQLite on a volume, or PostgreSQL."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    url: str = ""
    """`postgresql://USER:PASSWORD@HOST/NAME`; kept in a Secret. Empty means SQLite on the volume."""
    secret: str = ""
    """Secret of yours whose key `url` holds the same, instead of `url`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The volume of records and models' files."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    size: str = "20Gi"
    """How much room is asked for."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """`ReadWriteMany` where several pods of the platform share it; a volume that is there keeps its own."""
    class_name: str = ""
    """StorageClass; empty means the cluster's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where the front door answers: console, API and inference."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    kind: Literal["NodePort", "LoadBalancer", "HostPort", "ClusterIP"] = "NodePort"
    """A port of every node, of a load balancer, of the pod's own node, or inside the cluster only."""
    http_port: int = 30_080
    """Port for HTTP outside the cluster; inside it is always 8080."""
    https_port: int = 0
    """Port for HTTPS outside, such as 30443; inside it is then 8443. 0 opens none."""
    second_http_port: int = 0
    """Port outside for services' second ports, such as 30082; inside it is then 8082. 0 opens none."""
    ip: str = ""
    """With `HostPort`, the node's address to listen on; with `LoadBalancer`, the address to ask for."""
    redirect: bool = False
    """Send whoever comes over HTTP to HTTPS."""
    node_ports: str = "30000-32767"
    """The cluster's range of node ports (`--service-node-port-range`): services' own ports are of it too."""
    external_ip: str = ""
    """What clients know the nodes by, or `internal|public`; shown as the address of services' own ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """The platform's own pod."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    replicas: int = 1
    """How many: one leads, others take over. More than one need PostgreSQL and a volume that they share."""

    cpu: str = "500m"
    """Cores asked for."""
    memory: str = "1Gi"
    """Memory asked for, which is the limit too."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that it may run on."""
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    """Taints that it bears."""
    env: list[dict[str, Any]] = field(default_factory=list)
    """Settings that are no values, as a pod has them: `[{name: MODELYARD_SERVER__KEY, value: /data/key}]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routers:
    """Gateways as pods of their own, through which all requests come."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    count: int = 2
    """How many; 0 makes the platform's own pod the router, so that requests wait while it is renewed."""
    cpu: str = "500m"
    """Cores that each asks for."""
    memory: str = "512Mi"
    """Memory that each asks for, which is the limit too."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that they may run on."""
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    """Taints that they bear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Everything that an installation may choose."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    namespace: str = "modelyard-system"
    """Namespace of the platform itself; with Helm, that of the release."""
    namespace_prefix: str = "modelyard"
    """Project `vision` lives in the namespace `PREFIX-vision`."""
    domain: str = "localhost"
    """Services answer at `NAME.service.DOMAIN`."""
    public_url: str = ""
    """What browsers call the front door by, such as `https://ml.example.org`."""
    routing: Literal["auto", "gateway", "builtin"] = "auto"
    """`gateway` leads past the routers what needs nothing of them; `builtin` makes no Gateway."""
    gateway_class: str = ""
    """GatewayClass of a Gateway that is to be made before the routers; empty makes none."""
    network_policy: bool = True
    """Let nothing but the front door and the platform's own port be reached in the platform's namespace."""
    images: Images = field(default_factory=Images)
    database: Database = field(default_factory=Database)
    storage: Storage = field(default_factory=Storage)
    bind: Bind = field(default_factory=Bind)
    control_plane: ControlPlane = field(default_factory=ControlPlane)
    routers: Routers = field(default_factory=Routers)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    runtimes: Runtimes = field(default_factory=Runtimes)
    artifacts: Artifacts = field(default_factory=Artifacts)
    limits: Limits = field(default_factory=Limits)
    scaling: Scaling = field(default_factory=Scaling)


_ADAPTER = TypeAdapter(Values)


def load(files: Iterable[Path], assignments: Iterable[str]) -> Values:
    """Values of files and of `a.b=c` words; later ones count. Raises Invalid that names the value."""
    merged: dict[str, Any] = {}
    for path in files:
        merged = _over(merged, _document(path))
    for word in assignments:
        merged = _over(merged, _assignment(word))
    return of(merged)


def of(document: Mapping[str, Any]) -> Values:
    """Values of a document. Raises Invalid."""
    try:
        values = _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise _invalid(
            [(".".join(str(part) for part in line["loc"]), line["msg"]) for line in error.errors()]
        ) from None
    return values


def plain(values: Values) -> dict[str, Any]:
    """Values as a document."""
    return dataclasses.asdict(values)


def schema() -> dict[str, Any]:
    """What a document of values may hold, as JSON Schema."""
    return _ADAPTER.json_schema()


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise Invalid(f"{path} cannot be read: {error}") from None
    document = documents.one(text, f"{path} cannot be read") or {}
    if not isinstance(document, dict):
        raise Invalid(f"{path} must hold values by name, such as `domain: example.org`")
    return document


def _assignment(word: str) -> dict[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise _invalid([("--set", f"must be NAME=VALUE, got {word[:70]!r}")])
    *outer, last = name.split(".")
    value: Any = text if _is_text(name) else documents.one(text, name)
    for part in [last, *reversed(outer)]:
        value = {part: value}
    return dict(value)


def _is_text(name: str) -> bool:
    """Whether a value is a text, so that `1` and `yes` are taken as they stand."""
    found: Any = plain(Values())
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return isinstance(found, str)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two documents as one; where both have a value, that of `above`."""
    merged = dict(below)
    for name, value in above.items():
        before = merged.get(name)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[name] = _over(before, value) if both else value  # type: ignore[arg-type]
    return merged


def _invalid(wrong: Iterable[tuple[str, str]]) -> Invalid:
    errors = [FieldError(path, message) for path, message in wrong]
    return Invalid("; ".join(f"{each.path}: {each.message}" for each in errors), errors=errors)
