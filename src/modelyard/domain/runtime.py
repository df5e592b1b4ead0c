"""What a runtime is: the environment that a model's code runs in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import server, wire
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Format

HOST = "host"
"""The runtime that is the interpreter Modelyard itself runs in."""

AUTO = "auto"
"""In a spec: choose `host` when it matches the version's requirements, else build one."""


class RuntimeKind(StrEnum):
    """What a runtime is for."""

    SERVICE = "service"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """The environment a user or the platform asks for."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    kind: RuntimeKind = RuntimeKind.SERVICE
    """`service` answers predictions and tests; `worker` runs jobs."""
    python: str = ""
    """Interpreter as `3.11`; empty means the one Modelyard runs in."""
    packages: tuple[str, ...] = ()
    """Requirements as in a requirements file."""
    interpreter: str = ""
    """Path of a Python program that is there already, with its packages; only administrators name one.

    Nothing is built or installed then; `python` and `packages` stay empty.
    """
    image: str = ""
    """Container image with Modelyard's own server and what models need; only where replicas are containers.

    With `packages`, those are installed by its Python when a container starts; without, nothing is.
    """
    formats: tuple[Format, ...] = ()
    """Formats that it serves; empty means those whose library is among its packages."""
    description: str = ""

    def __post_init__(self) -> None:
        wrong = [
            *_python_errors(self.python),
            *_package_errors(self.packages),
            *_interpreter_errors(self),
            *_image_errors(self),
        ]
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)


IN_IMAGE = "python"
"""Interpreter of a runtime that is nothing but an image: the program of that name on its path."""


class RuntimeState(StrEnum):
    """How far a runtime is."""

    PENDING = "pending"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """What the platform found and did."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    state: RuntimeState = RuntimeState.PENDING
    reason: str = ""
    message: str = ""
    interpreter: str = ""
    """Path of the Python program, once ready."""
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    """Installed packages and their versions."""
    image: str = ""
    """Image that its containers are made of; empty is the platform's own."""
    lock: str = ""
    """Hash of the resolved requirements; environments with the same lock are shared."""
    observed_generation: int = 0


def of_image(image: str) -> RuntimeStatus:
    """How a runtime is that is nothing but an image: what it holds is seen when a model is loaded in it."""
    digest = hashlib.sha256(image.encode()).hexdigest()[:32]
    message = f"the environment of the image {image}"
    state = RuntimeState.READY
    return RuntimeStatus(state=state, message=message, interpreter=IN_IMAGE, image=image, lock=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A named environment of a project; `host` exists in every project."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    automatic: bool = False
    """Made by the platform from a version's requirements."""
    spec: RuntimeSpec
    status: RuntimeStatus = field(default_factory=RuntimeStatus)
    generation: int = 1
    created_at: datetime
    deleting: bool = False


def _python_errors(python: str) -> Iterator[FieldError]:
    """Python 2 and what is too old to host a model have no runtimes."""
    match = re.fullmatch(r"3\.([0-9]{1,2})(?:\.[0-9]{1,3})?", python)
    if python and not match:
        old = "Python 2 is gone" if python.startswith("2") else f"{python[:40]!a} is not a version"
        yield FieldError("spec.python", f"{old}; write `3.9` or newer, or leave it empty for Modelyard's own")
    elif match and int(match[1]) < 9:
        yield FieldError("spec.python", f"{python} is too old; write `3.9` or newer")


def _interpreter_errors(spec: RuntimeSpec) -> Iterator[FieldError]:
    """Either an environment is named, or what is to be built."""
    path = spec.interpreter
    if path and not (path.startswith("/") and path.isprintable() and len(path) <= 1000):
        message = f"{path[:100]!a} is not an absolute path; write one such as `/opt/torch/bin/python`"
        yield FieldError("spec.interpreter", message)
    for name in ("python", "packages", "image"):
        if path and getattr(spec, name):
            message = f"an interpreter that is there brings its own; leave `{name}` out, or `interpreter`"
            yield FieldError(f"spec.{name}", message)


def _image_errors(spec: RuntimeSpec) -> Iterator[FieldError]:
    """An image by a name that registries take; its Python is what it is."""
    if spec.image and not server.IMAGE.fullmatch(spec.image):
        yield FieldError("spec.image", "is not the name of an image; write it as `registry/name:tag`")
    if spec.image and spec.python and not spec.packages:
        yield FieldError("spec.python", "an image has its own Python; leave `python` out, or give `packages`")


def _package_errors(packages: tuple[str, ...]) -> Iterator[FieldError]:
    """Options would change where packages come from, which is for the platform's settings to say."""
    for number, line in enumerate(packages):
        text = line.strip()
        if not text or text[0] in "-#" or not text.isprintable() or len(text) > 500:
            message = f"{line[:60]!a} is not a requirement; write one such as `scikit-learn==1.5.2`"
            yield FieldError(f"spec.packages[{number}]", message)
