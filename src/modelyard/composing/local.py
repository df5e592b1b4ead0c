"""One machine: replicas are processes, and the gateway is an Envoy beside the control plane."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uv

from modelyard import settings
from modelyard.artifacts import Artifacts, Bounds
from modelyard.artifacts.opening import open_store
from modelyard.backends.local import Capacity, LocalBackend, LocalEnvironments, Options
from modelyard.composing import doors
from modelyard.composing.rooms import Given, World
from modelyard.control import installation
from modelyard.domain import quantity
from modelyard.domain.errors import Invalid
from modelyard.gateway.envoy.gateway import EnvoyGateway


@contextlib.asynccontextmanager
async def world(given: Given) -> AsyncIterator[World]:
    """What a platform on this machine works with."""
    chosen = given.chosen
    backend = LocalBackend(
        directory=given.home / "replicas",
        socket_directory=installation.socket_directory(given.home),
        interpreter=sys.executable,
        clock=given.clock,
        capacity=_capacity(chosen.node),
        options=Options(
            max_body_bytes=quantity.parse_memory(chosen.limits.request, "limits.request"),
            shared_memory=chosen.limits.shared_memory,
            programs=dataclasses.asdict(chosen.servers),
            secrets=str(given.home / "secrets"),
        ),
    )
    try:
        yield World(
            name="local",
            backend=backend,
            environments=environments(given),
            gateway=envoy(given),
            artifacts=artifacts(given),
        )
    finally:
        await backend.close()


def envoy(given: Given) -> EnvoyGateway:
    """The gateway beside the control plane."""
    return EnvoyGateway(
        directory=given.home / "gateway",
        socket_directory=installation.socket_directory(given.home),
        door=doors.door(given.chosen),
        api=given.api_socket,
        domain=given.chosen.server.domain,
    )


def environments(given: Given) -> LocalEnvironments:
    """Runtimes are built on this machine."""
    return LocalEnvironments(
        directory=given.home / "environments",
        uv=uv.find_uv_bin(),
        index_url=given.chosen.runtimes.index_url,
        offline=given.chosen.runtimes.offline,
        wheels=wheels(given),
    )


def wheels(given: Given) -> str:
    """The directory of wheels, to be filled while the platform runs; empty for none. Raises Invalid."""
    if not given.chosen.runtimes.wheels:
        return ""
    directory = Path(given.chosen.runtimes.wheels).expanduser().absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(f"runtimes.wheels: {directory} cannot be made: {error.strerror}") from None
    return str(directory)


def artifacts(given: Given) -> Artifacts:
    """Files are kept in the data directory, or in a bucket with that directory in front of it."""
    return open_store(
        given.chosen.artifacts,
        given.home / "artifacts",
        bounds=Bounds(max_bytes=quantity.parse_memory(given.chosen.limits.upload, "limits.upload")),
        clock=given.clock,
        environ=given.environ,
    )


def _capacity(node: settings.Node) -> Capacity:
    return Capacity(
        cpu_millis=quantity.parse_cpu(node.cpu, "node.cpu") if node.cpu else None,
        memory_bytes=quantity.parse_memory(node.memory, "node.memory") if node.memory else None,
        gpus=None if node.gpus < 0 else node.gpus,
    )
