"""Values that are settings of the platform under the same names: `kubernetes.cache_size` and the like."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from modelyard.settings import PREFIX, Settings

_STRICT: dict[str, object] = {"extra": "forbid", "defer_build": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """What the platform makes of the cluster; the settings of the section `[kubernetes]`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    cache_size: str = "0"
    """Bytes such as `200Gi` of a claim in each project, in which its pods share models' files; 0 is none."""
    cache_class: str = ""
    """StorageClass of those claims; empty means the cluster's default."""
    cache_access: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    """`ReadWriteOnce` for clusters of one node, where no storage is needed that nodes share."""
    cluster_queue: str = ""
    """ClusterQueue of Kueue that tasks wait in; empty, and without Kueue, they wait in the platform's own."""
    prometheus_url: str = ""
    """The cluster's Prometheus that reads `/metrics` of the platform, for autoscaling by KEDA."""
    network_policies: bool = True
    """Policies of each project's network: tasks closed in, isolated projects isolated; off removes them."""
    gateway_pause_seconds: float = 3.0
    """So long after a controller has taken a route up, its proxies may still work by the one before."""
    drain_wait_seconds: int = 10
    """So long a replica that goes still answers, until all who ask know; 15 behind a cloud's balancers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtimes:
    """How environments for models are built; the settings of the section `[runtimes]`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    index_url: str = ""
    """Package index to build from; empty means PyPI."""
    offline: bool = False
    """Never ask an index; build only from what is cached, and from `wheels`."""
    wheels: str = ""
    """Directory of the volume with wheels for runtimes, such as `/data/wheels`; pods then ask no index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """Where models' files are kept: on the volume, or in a bucket; the section `[artifacts]`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    url: str = ""
    """`s3://bucket/prefix`; empty keeps files on the volume."""
    endpoint: str = ""
    """Address of the server, such as `http://minio.storage:9000`; empty is Amazon's own."""
    region: str = "us-east-1"
    """Region that requests are signed for."""
    path_style: bool = True
    """Whether the bucket stands in the path (`endpoint/bucket/key`) rather than in the host."""
    sources: str = ""
    """Addresses that models may be published from with these keys, such as `s3://training/out s3://zoo`."""
    redirect: bool = False
    """Send pods to the bucket's own server, with addresses that are signed for an hour."""
    secret: str = ""
    """Secret of yours with the keys `access_key_id`, `secret_access_key`, and perhaps `session_token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take; the settings of the section `[limits]`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    upload: str = "50Gi"
    """Bytes of one published version."""
    request: str = "64Mi"
    """Bytes of one inference request, after decompression."""
    test_timeout_seconds: float = 120.0
    """How long validation or a test of a model may take."""
    tasks: int = 0
    """How many models are validated and tested at once; 0 is one for each core for computing, at least 2."""
    queue_seconds: float = 300.0
    """How long a request for that waits for its turn before it is refused with its place in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How services follow the clock; the settings of the section `[scaling]`."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    time_zone: str = ""
    """Of the hours at which services scale, such as `Europe/Berlin`; empty means UTC."""


SECTIONS: dict[str, type] = {
    "kubernetes": Kubernetes,
    "runtimes": Runtimes,
    "artifacts": Artifacts,
    "limits": Limits,
    "scaling": Scaling,
}
"""Sections of values that are sections of the settings too."""


def names() -> tuple[str, ...]:
    """Every value that is a setting, as `section.key`."""
    known = {section: type(getattr(Settings(), section)) for section in SECTIONS}
    keys = {section: {each.name for each in dataclasses.fields(kind)} for section, kind in known.items()}
    return tuple(
        f"{section}.{each.name}"
        for section, kind in SECTIONS.items()
        for each in dataclasses.fields(kind)
        if each.name in keys[section]
    )


def default(name: str) -> Any:
    """What a setting is when nobody says anything."""
    section, _, key = name.partition(".")
    return getattr(getattr(Settings(), section), key)


def variable(name: str) -> str:
    """Under which name in the environment, without the prefix, the platform reads a setting."""
    return name.upper().replace(".", "__")


def name(variable: str) -> str:
    """Which setting the platform reads from a variable of the environment."""
    return variable.removeprefix(PREFIX).lower().replace("__", ".", 1)
