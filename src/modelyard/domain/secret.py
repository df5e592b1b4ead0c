"""Secrets of a project: what is known of them, how specs name them, and where a spec may name them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from modelyard.domain import naming, wire
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import FieldError
from modelyard.domain.mounts import MountKind

MOST_BYTES = 1 << 20
"""Of all keys and values of a secret, which is what a cluster takes."""
_MOST_VARIABLE = 100_000
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_NAMED = re.compile(r"\{\{ *secret\.([^{}]*?) *\}\}")
_VARIABLE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")
_HOW = "write `{{secret.NAME.KEY}}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as anybody may see it: its values are never told."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    keys: tuple[str, ...]
    """The names of its values, by the alphabet."""
    binary: tuple[str, ...] = ()
    """Those that no environment variable can carry; they can be mounted."""
    generation: int = 1
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    used_by: tuple[str, ...] = ()
    """Services that name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretValues:
    """What one replica may read of a secret."""

    mark: str
    """Differs when the values do, and tells nothing of them."""
    values: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """A value of a secret that a variable of a spec names."""

    variable: str
    name: str
    key: str

    @property
    def path(self) -> str:
        """Where the spec names it."""
        return f"spec.env.{self.variable}"


def value_errors(values: Mapping[str, bytes], path: str) -> list[FieldError]:
    """What is wrong with the keys, or the size of it all; never with a word of the values."""
    found = [
        FieldError(path, f"{_shown(key)} is not a key: use up to 253 letters, digits, `.`, `_` and `-`")
        for key in values
        if not _KEY.fullmatch(key) or key.startswith("..") or key == "."
    ]
    size = sum(len(key.encode(errors="replace")) + len(value) for key, value in values.items())
    if size > MOST_BYTES:
        remedy = "publish large files with the model, or divide it into several secrets"
        found.append(FieldError(path, f"has {size} bytes, and a secret at most {MOST_BYTES}; {remedy}"))
    return found


def is_text(value: bytes) -> bool:
    """Whether an environment variable can carry it."""
    try:
        return "\0" not in value.decode() and len(value) <= _MOST_VARIABLE
    except UnicodeDecodeError:
        return False


def references(env: Mapping[str, str]) -> tuple[Reference, ...]:
    """The values that variables name, each once, in the order of the variables."""
    found = (
        Reference(variable, *_parts(match[1]))
        for variable, text in env.items()
        for match in _NAMED.finditer(text)
    )
    return tuple(dict.fromkeys(each for each in found if each.key))


def hidden(env: Mapping[str, str]) -> frozenset[str]:
    """The variables that hold something of a secret, and so must appear nowhere else."""
    return frozenset(variable for variable, text in env.items() if _NAMED.search(text))


def fill(text: str, secrets: Mapping[str, SecretValues]) -> str:
    """The text with the values that it names; what is not there stays as it was written."""

    def value(match: re.Match[str]) -> str:
        name, key = _parts(match[1])
        known = secrets[name].values if name in secrets else {}
        return known[key].decode() if key in known else match[0]

    return _NAMED.sub(value, text)


def split(text: str) -> Iterator[str | tuple[str, str]]:
    """The text in pieces: words as they are, and the name and key of each value between them."""
    end = 0
    for match in (each for each in _NAMED.finditer(text) if _parts(each[1])[1]):
        if match.start() > end:
            yield text[end : match.start()]
        yield _parts(match[1])
        end = match.end()
    if end < len(text):
        yield text[end:]


def mounted(spec: DeploymentSpec) -> dict[str, str]:
    """The names of secrets that a spec mounts, with where it says so."""
    return {
        mount.source: f"spec.mounts[{number}].source"
        for number, mount in enumerate(spec.mounts)
        if mount.kind is MountKind.SECRET
    }


def names(spec: DeploymentSpec) -> frozenset[str]:
    """The secrets that a spec names, whether they are there or not."""
    return frozenset({each.name for each in references(spec.env)} | mounted(spec).keys())


def reads(spec: DeploymentSpec, name: str, keys: Collection[str]) -> bool:
    """Whether replicas of a spec read any of these values of a secret."""
    return name in mounted(spec) or any(
        each.name == name and each.key in keys for each in references(spec.env)
    )


def spec_errors(spec: DeploymentSpec) -> list[FieldError]:
    """What is wrong with how a spec names secrets, and with where it does.

    Commands stand in lists of processes and configuration in places that more people read.
    """
    found = [
        FieldError(f"spec.env.{variable}", f"{_shown(match[0])} names no value of a secret; {_HOW}")
        for variable, text in spec.env.items()
        for match in _NAMED.finditer(text)
        if not _parts(match[1])[1]
    ]
    secret_variables = hidden(spec.env)
    for path, text in _elsewhere(spec):
        named = {match[1] for match in _VARIABLE.finditer(text)} & secret_variables
        if _NAMED.search(text):
            remedy = "name it in a variable of `env`, or mount the secret"
            found.append(FieldError(path, f"may hold no value of a secret; {remedy}"))
        elif named:
            variable = min(named)
            remedy = f"let the program read the variable, in a shell as `${variable}`"
            found.append(FieldError(path, f"names {variable}, which holds a secret; {remedy}"))
    return found


def _elsewhere(spec: DeploymentSpec) -> Iterator[tuple[str, str]]:
    """Every other text of a spec in which names are filled in."""
    yield "spec.server.command", _joined(spec.server.command)
    yield "spec.server.working_directory", spec.server.working_directory
    for name, probe in (("readiness", spec.health.readiness), ("liveness", spec.health.liveness)):
        if probe is not None:
            yield f"spec.health.{name}", f"{probe.http}\n{_joined(probe.command)}"
    yield "spec.config", spec.config
    for name, text in spec.config_files.items():
        yield f"spec.config_files.{name}", text


def _joined(command: str | tuple[str, ...]) -> str:
    return command if isinstance(command, str) else "\n".join(command)


def _parts(text: str) -> tuple[str, str]:
    """Name and key of `NAME.KEY`; without a key when it is something else."""
    name, _, key = text.partition(".")
    return name, key if naming.is_name(name) and _KEY.fullmatch(key) else ""


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 70 else text[:70] + "…")
