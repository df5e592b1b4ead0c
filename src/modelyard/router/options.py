"""What one router is told at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid
from modelyard.gateway.base import Door

_MOST = 1e6
PREFIX = "MODELYARD_ROUTER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything about one router that does not change while it runs."""

    directory: Path
    """Its own; what lies there from before is gone on with."""
    door: Door
    """Where clients come in."""
    face_port: int
    """Where the control plane talks to it, over TLS, at the address of the door."""
    health_port: int
    """Where a kubelet asks whether it lives and is ready, and nothing else is answered."""
    api: str
    """`HOST:PORT` of the control plane, where `/` and `/api` lead."""
    token_file: Path
    """Has what the control plane shows with everything that it asks."""
    certificates: Path
    """Directory with `tls.crt` and `tls.key` of this router, and `ca.crt` of who may talk to it."""
    copy: Path | None = None
    """Where the copy of the last routes is mounted, for a start while the control plane is away."""
    domain: str = "localhost"
    sockets: Path | None = None
    """A short directory for sockets; empty means one below `directory`."""
    settle_seconds: float = 3.0
    """So long one with an empty disk waits for the control plane before it begins with the copy."""
    leave_seconds: float = 5.0
    """So long one that was told to end goes on as before, until nobody is sent here any more."""
    drain_seconds: float = 60.0
    """So long what is in flight may then take."""
    concurrency: int = 0
    """Worker threads; 0 means one per core."""


@dataclass(frozen=True, slots=True)
class Field:
    """One option as a pod says it."""

    name: str
    default: str
    text: str
    kind: type = field(default=str)


FIELDS = (
    Field("host", "0.0.0.0", "IP address to listen on, such as the pod's"),  # noqa: S104 - the pod's own
    Field("port", "8080", "where clients come in", int),
    Field("https_port", "0", "where they come in over TLS; 0 means nowhere", int),
    Field("second_port", "0", "where the services' second ports answer; 0 means nowhere", int),
    Field("redirect", "false", "true sends whoever comes to the port to the HTTPS port", bool),
    Field("redirect_port", "0", "where clients find the HTTPS port; 0 means at its own number", int),
    Field("face_port", "8079", "where the control plane talks to the router, over TLS", int),
    Field("health_port", "8078", "where a kubelet asks whether the router lives and is ready", int),
    Field("api", "", "HOST:PORT of the control plane"),
    Field("directory", "/var/lib/modelyard-router", "where it keeps its routes"),
    Field("sockets", "", "a short directory for its sockets"),
    Field("copy", "", "directory where the copy of the last routes is mounted"),
    Field("token_file", "/etc/modelyard-router/token", "file with the control plane's token"),
    Field("certificates", "/etc/modelyard-router", "directory with its tls.crt, tls.key and ca.crt"),
    Field("domain", "localhost", "services answer at NAME.service.DOMAIN"),
    Field("settle_seconds", "3", "how long an empty router waits before it uses the copy", float),
    Field("leave_seconds", "5", "how long it serves on after it was told to end", float),
    Field("drain_seconds", "60", "how long what is in flight may take then", float),
    Field("concurrency", "0", "worker threads; 0 means one per core", int),
)


def parse(said: Mapping[str, str | None], environ: Mapping[str, str]) -> Options:
    """Options as the command line says, else `MODELYARD_ROUTER_*`; raises Invalid naming what is wrong."""
    text = {each.name: _text(each, said, environ) for each in FIELDS}
    if not text["api"]:
        _refuse(
            "api", "is missing; give HOST:PORT of the control plane, such as modelyard.modelyard-system:80"
        )
    numbers = {each.name: _number(each.name, text[each.name]) for each in FIELDS if each.kind in (int, float)}
    return Options(
        directory=Path(text["directory"]),
        door=Door(
            host=text["host"],
            port=int(numbers["port"]),
            https_port=int(numbers["https_port"]),
            second_port=int(numbers["second_port"]),
            redirect=_truth("redirect", text["redirect"]),
            redirect_port=int(numbers["redirect_port"]),
        ),
        face_port=int(numbers["face_port"]),
        health_port=int(numbers["health_port"]),
        api=text["api"],
        token_file=Path(text["token_file"]),
        certificates=Path(text["certificates"]),
        copy=Path(text["copy"]) if text["copy"] else None,
        domain=text["domain"],
        sockets=Path(text["sockets"]) if text["sockets"] else None,
        settle_seconds=numbers["settle_seconds"],
        leave_seconds=numbers["leave_seconds"],
        drain_seconds=numbers["drain_seconds"],
        concurrency=int(numbers["concurrency"]),
    )


def _text(each: Field, said: Mapping[str, str | None], environ: Mapping[str, str]) -> str:
    text = said.get(each.name)
    return environ.get(PREFIX + each.name.upper(), each.default) if text is None else text


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        _refuse(name, f"must be true or false, got {text[:40]!r}")
    return text.lower() == "true"


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < _MOST:
        _refuse(name, f"must be a number and not below 0, got {text[:40]!r}")
    return number


def _refuse(name: str, message: str) -> NoReturn:
    option = f"--{name.replace('_', '-')}"
    raise Invalid(f"{option} {message}", errors=[FieldError(option, message)])
