"""One typed tree of settings: file < environment < flags; read by the composition root only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.storage import StoreOptions

PREFIX = "MODELYARD_"
FILE_NAME = "modelyard.toml"
_STRICT: dict[str, object] = {"extra": "forbid", "defer_build": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The front door."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    host: str = "127.0.0.1"
    """Address the front door listens on; one beyond loopback needs `insecure` or a user with a password."""
    port: int = 8080
    """Port of the front door: console, API and inference."""
    domain: str = "localhost"
    """Services answer at `NAME.service.DOMAIN`."""
    insecure: bool = False
    """Listen beyond loopback although neither TLS nor users protect the door."""
    https_port: int = 0
    """Port of the front door over TLS; 0 opens none."""
    certificate: str = ""
    """File with the chain in PEM for the HTTPS port; empty means one that Modelyard makes or was given."""
    key: str = ""
    """File with the private key of `certificate`; both are read again when they change."""
    public_url: str = ""
    """What browsers call the front door by, such as `https://ml.example.org`; empty means host and port."""
    redirect_to_https: bool = False
    """Send whoever comes to `port` to the HTTPS port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Addresses beside the front door's own."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    second_port: int = 0
    """Port at which services' second ports answer, by host and path; 0 opens none."""
    port_base: int = 0
    """Services' own ports begin here: number 7 gets this and 70 if free; 0 is 30000, or of node ports."""
    port_count: int = 10_000
    """How many ports from there on may be given."""
    refused_ports: str = "10250"
    """Ports that are never given, with commas."""
    external_ip: str = ""
    """What clients know this machine by, or `internal|public`; shown in addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where records are kept."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    url: str = ""
    """`postgresql://…`; empty means SQLite in the data directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What this machine offers; empty means what it has."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    cpu: str = ""
    """Cores such as `4` or `3.5`."""
    memory: str = ""
    """Bytes such as `16Gi`."""
    gpus: int = -1
    """How many of its GPUs; -1 means all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtimes:
    """How environments for models are built."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    index_url: str = ""
    """Package index to build from; empty means what uv is configured for."""
    offline: bool = False
    """Never ask an index; build only from what is cached, and from `wheels`."""
    wheels: str = ""
    """Directory of wheels to build from; pods of a cluster then get theirs from here and ask no index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    upload: str = "50Gi"
    """Bytes of one published version."""
    request: str = "64Mi"
    """Bytes of one inference request, after decompression."""
    shared_memory: bool = False
    """Let clients name shared memory of this machine; each can then read what others put there."""
    test_timeout_seconds: float = 120.0
    """How long validation or a test of a model may take."""
    tasks: int = 0
    """How many models are validated and tested at once; 0 is one for each core for computing, at least 2."""
    queue_seconds: float = 300.0
    """How long a request for that waits for its turn before it is refused with its place in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How services follow the clock."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    time_zone: str = ""
    """Of the hours at which services scale, such as `Europe/Berlin`; empty means the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Programs of other servers; empty means what is found on the PATH."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    triton: str = ""
    """Path of `tritonserver`."""
    tfserving: str = ""
    """Path of `tensorflow_model_server`."""
    torchserve: str = ""
    """Path of `torchserve`."""
    vllm: str = ""
    """Path of `vllm`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where replicas run."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    kind: Literal["local", "kubernetes"] = "local"
    """`local` starts processes on this machine, `kubernetes` pods of a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """The cluster, where `backend.kind` is `kubernetes`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    kubeconfig: str = ""
    """File that says how to reach the cluster; empty means the pod's own account, else `KUBECONFIG`."""
    context: str = ""
    """Context of that file; empty means its current one."""
    system_namespace: str = "modelyard-system"
    """Namespace of the platform itself."""
    namespace_prefix: str = "modelyard"
    """Project `vision` lives in the namespace `PREFIX-vision`."""
    registry: str = ""
    """Registry, and path in it, in front of the images of Modelyard; empty means that of the release."""
    serving_image: str = ""
    """Image of Modelyard's own server; empty means that of this release."""
    fetch_image: str = ""
    """Image that brings a model's files into a pod; empty means that of this release."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull images."""
    pull_secret: str = ""
    """Secret of the platform's namespace with the registry's credentials; projects get a copy of it."""
    routers: bool = False
    """Routers run as pods of their own, which are told their routes; else the gateway is beside the API."""
    gateway_class: str = ""
    """GatewayClass of a Gateway that leads to the built-in router; empty means that there is none."""
    routing: Literal["auto", "gateway", "builtin"] = "auto"
    """`gateway` leads past the router what needs nothing of it, uncounted; `builtin` makes no Gateway."""
    prometheus_url: str = ""
    """The cluster's Prometheus that reads `/metrics` of the platform, for autoscaling by KEDA."""
    gateway_pause_seconds: float = 3.0
    """So long after a controller has taken a route up, its proxies may still work by the one before."""
    node_ports: str = "30000-32767"
    """Ports that the cluster opens on its nodes (`--service-node-port-range`): services' own are of these."""
    shown_port: int = 0
    """Port by which clients outside reach the front door over HTTP; 0 means `server.port`."""
    shown_https_port: int = 0
    """The same for HTTPS; 0 means `server.https_port`."""
    shown_second_port: int = 0
    """The same for services' second ports; 0 means `gateway.second_port`."""
    shown_host: str = ""
    """Address by which clients outside reach the front door; empty means its load balancer's or a node's."""
    artifact_url: str = ""
    """Where pods reach the platform for models' files, such as `http://modelyard.modelyard-system:8081`."""
    api_port: int = 0
    """Port of the API for routers and pods; 0 keeps it on a socket."""
    api_host: str = ""
    """Address of that port; empty means all of this machine's."""
    drain_wait_seconds: int = 10
    """So long a replica that goes still answers, until all who ask know; 15 behind a cloud's balancers."""
    cache_size: str = "0"
    """Bytes such as `200Gi` of a claim in each project, in which its pods share models' files; 0 is none."""
    cache_class: str = ""
    """StorageClass of those claims; empty means the cluster's default."""
    cache_access: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    """`ReadWriteOnce` for clusters of one node, where no storage is needed that nodes share."""
    cluster_queue: str = ""
    """ClusterQueue of Kueue that tasks wait in; empty, and without Kueue, they wait in the platform's own."""
    account: str = ""
    """ServiceAccount of the platform that is let into each project's namespace; empty lets nobody in."""
    network_policies: bool = True
    """Policies of each project's network: tasks closed in, isolated projects isolated; off removes them."""
    platform_cidrs: str = ""
    """Of a platform outside the cluster: where its requests to pods come from, such as `10.0.0.5/32`."""
    lease: bool = False
    """Write only while leading by a Lease, and keep keys in a Secret; control planes in a cluster need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of one installation."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    server: Server = field(default_factory=Server)
    store: Store = field(default_factory=Store)
    node: Node = field(default_factory=Node)
    gateway: Gateway = field(default_factory=Gateway)
    runtimes: Runtimes = field(default_factory=Runtimes)
    limits: Limits = field(default_factory=Limits)
    scaling: Scaling = field(default_factory=Scaling)
    servers: Servers = field(default_factory=Servers)
    backend: Backend = field(default_factory=Backend)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    artifacts: StoreOptions = field(default_factory=StoreOptions)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each `section.key` where its value came from."""

    settings: Settings
    origins: dict[str, str]


_ADAPTER = TypeAdapter(Settings)


def home(environ: Mapping[str, str]) -> Path:
    """The data directory: `MODELYARD_HOME`, else `~/.modelyard`."""
    return Path(environ.get(f"{PREFIX}HOME") or Path.home() / ".modelyard").expanduser().resolve()


def load(directory: Path, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Settings of the data directory `directory`; `flags` are `section.key` to value.

    Raises Invalid naming the setting, where it came from and what is wrong with it.
    """
    merged: dict[str, Any] = {}
    origins = dict.fromkeys(names(), "default")
    for origin, values in (
        (FILE_NAME, _from_file(directory / FILE_NAME)),
        ("environment", _from_environment(environ)),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ):
        for name, value in values.items():
            section, _, key = name.partition(".")
            merged.setdefault(section, {})[key] = value
            origins[name] = origin
    try:
        return Loaded(_ADAPTER.validate_python(merged), origins)
    except ValidationError as error:
        raise _invalid(error, origins) from None


def names() -> tuple[str, ...]:
    """Every setting as `section.key`."""
    default = Settings()
    sections = ((section.name, getattr(default, section.name)) for section in fields(Settings))
    return tuple(f"{section}.{key.name}" for section, made in sections for key in fields(made))


def values(settings: Settings) -> dict[str, Any]:
    """Every setting as `section.key` to its value."""
    pairs = (name.split(".") for name in names())
    return {f"{section}.{key}": getattr(getattr(settings, section), key) for section, key in pairs}


def _from_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Invalid(f"{FILE_NAME} cannot be read: {error}") from None
    scalars = [name for name, section in document.items() if not isinstance(section, dict)]
    if scalars:
        raise Invalid(f"{FILE_NAME}: `{scalars[0]}` must stand in a section, such as `[server]`")
    return {f"{section}.{key}": value for section, keys in document.items() for key, value in keys.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return {
        name.removeprefix(PREFIX).lower().replace("__", ".", 1): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and "__" in name
    }


def _invalid(error: ValidationError, origins: Mapping[str, str]) -> Invalid:
    wrong = []
    for line in error.errors():
        name = ".".join(str(part) for part in line["loc"])
        origin = origins.get(name, FILE_NAME)
        wrong.append(
            FieldError(name, f"{line['msg']} (from {origin}; `modelyard config show` lists all settings)")
        )
    return Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)
