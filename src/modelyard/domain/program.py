"""How a server that is not Modelyard's own is run: what its user wrote, completed by what is generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from modelyard.domain import health, texts, wire
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.generated import tfserving, torchserve, triton, vllm
from modelyard.domain.generated.draft import FIRST_PORT, Draft, Subject
from modelyard.domain.health import Health
from modelyard.domain.server import ServerKind

__all__ = ["DEFAULT_PORT", "Program", "Subject", "files", "program"]

DEFAULT_PORT = 8080
"""The port of a server whose user named none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything that starts a server, with the names of its place not yet filled in."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    kind: ServerKind
    executable: str = ""
    """The program that the command runs at last, when it is known; `{{MODELYARD_PROGRAM}}` in the command."""
    image: str = ""
    command: str | tuple[str, ...] = ""
    working_directory: str = ""
    ports: tuple[int, ...] = ()
    """The ports with addresses; the first gets the service's requests."""
    inner_ports: tuple[int, ...] = ()
    """Other ports that it listens on."""
    files: dict[str, str] = field(default_factory=dict)
    """Configuration files by name."""
    env: dict[str, str] = field(default_factory=dict)
    """What it finds in its environment unless the user says otherwise."""
    health: Health = field(default_factory=Health)
    """Without any probe a replica is ready when it listens on its first port."""
    metrics: str = ""
    """`PORT:/path` of its own metrics."""

    @property
    def every_port(self) -> tuple[int, ...]:
        """All ports that it may listen on, each once: those with addresses first."""
        asked = (probe.http for probe in (self.health.readiness, self.health.liveness) if probe is not None)
        named = (health.target(text)[0] for text in (*asked, self.metrics))
        return tuple(dict.fromkeys(port for port in (*self.ports, *self.inner_ports, *named) if port))


def program(spec: DeploymentSpec, subject: Subject) -> Program:
    """What runs for a spec: each thing that the user left empty is generated, whatever else was changed."""
    draft = _draft(spec, subject)
    server = spec.server
    ports = server.ports + draft.ports[len(server.ports) :]
    return Program(
        kind=server.kind,
        executable="" if server.command else draft.executable,
        image=server.image or draft.image,
        command=server.command or draft.command,
        working_directory=server.working_directory,
        ports=ports,
        inner_ports=draft.inner_ports,
        files={**draft.files, **files(spec)},
        env={**draft.env, **spec.env},
        health=spec.health if spec.health.asks else draft.health,
        metrics=spec.metrics or draft.metrics.replace(FIRST_PORT, str(ports[0])),
    )


def files(spec: DeploymentSpec) -> dict[str, str]:
    """The configuration files that the user wrote, in either form."""
    return {**spec.config_files, **texts.split_files(spec.config, "spec.config")}


def _draft(spec: DeploymentSpec, subject: Subject) -> Draft:
    match spec.server.kind:
        case ServerKind.TRITON:
            return triton.draft(subject)
        case ServerKind.TFSERVING:
            return tfserving.draft(subject)
        case ServerKind.TORCHSERVE:
            return torchserve.draft(subject)
        case ServerKind.VLLM:
            return vllm.draft(subject)
        case ServerKind.MODELYARD | ServerKind.SERVING:
            return Draft(ports=(DEFAULT_PORT,))
