"""What serves a deployment: Modelyard's own server, or any other program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import health, texts, wire
from modelyard.domain.errors import FieldError

MOST_PORTS = 2
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,499}")
"""The name of a container image."""


class ServerKind(StrEnum):
    """The programs that are known; `serving` is any other."""

    MODELYARD = "modelyard"
    SERVING = "serving"
    TRITON = "triton"
    TFSERVING = "tfserving"
    TORCHSERVE = "torchserve"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The program of a replica; what is left empty is generated from the kind and the model."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    kind: ServerKind = ServerKind.MODELYARD
    """`modelyard`, `serving` for any program, `triton`, `tfserving`, `torchserve` or `vllm`."""
    image: str = ""
    """Container image; where replicas are processes it is kept and not used."""
    command: str | tuple[str, ...] = ""
    """A text for a shell, or a list of words; `{{MODELYARD_PORT}}` and the like are filled in."""
    working_directory: str = ""
    """Where the program runs; empty is a directory of the replica's own."""
    ports: tuple[int, ...] = ()
    """At most two ports that it listens on; the first one gets the service's requests."""

    @property
    def is_own(self) -> bool:
        """Whether it is Modelyard's own server."""
        return self.kind is ServerKind.MODELYARD

    @property
    def is_free(self) -> bool:
        """Whether it runs what its user wrote, rather than what was generated."""
        return bool(self.command) or self.kind is ServerKind.SERVING


def errors(server: Server, path: str) -> list[FieldError]:
    """What is wrong with the server, each with its remedy."""
    found = [FieldError(f"{path}.{field}", message) for field, message in _wrong(server)]
    return found + texts.command_errors(server.command, f"{path}.command")


def metrics_errors(metrics: str, path: str) -> list[FieldError]:
    """What is wrong with the place of a server's own metrics, with the remedy."""
    if not metrics:
        return []
    port, where = health.target(metrics)
    if not where or not 1 <= port <= 65_535:
        return [FieldError(path, "must be `PORT:/path`, such as `8080:/metrics`")]
    return []


def _wrong(server: Server) -> Iterator[tuple[str, str]]:
    own = ("image", "command", "working_directory", "ports")
    if server.is_own:
        remedy = f"is for other servers; set `server.kind` to one of {', '.join(_OTHERS)}"
        yield from ((field, remedy) for field in own if getattr(server, field))
        return
    if server.kind is ServerKind.SERVING and not server.command and not server.image:
        yield "command", "is missing: give the command that serves, or an image that has one"
    if server.image and not IMAGE.fullmatch(server.image):
        yield "image", "is not the name of an image; write it as `registry/name:tag`"
    if "\0" in server.working_directory or len(server.working_directory) > 500:
        yield "working_directory", "is not a path"
    yield from _wrong_ports(server)


def _wrong_ports(server: Server) -> Iterator[tuple[str, str]]:
    if len(server.ports) > MOST_PORTS:
        yield f"ports[{MOST_PORTS}]", f"is one too many: at most {MOST_PORTS} ports are reachable"
    for number, port in enumerate(server.ports):
        if not 1 <= port <= 65_535:
            yield f"ports[{number}]", f"must be between 1 and 65535, got {port}"
        elif port in server.ports[:number]:
            yield f"ports[{number}]", f"{port} is there twice; each port once"


_OTHERS = tuple(kind.value for kind in ServerKind if kind is not ServerKind.MODELYARD)
