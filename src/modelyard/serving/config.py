"""replica.json: everything a front must know, as frozen types."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from modelyard.oip.errors import Rejected
from modelyard.oip.signature import Signature, compile_signature
from modelyard.serving.batching.policy import AUTO, MODES
from modelyard.serving.errors import ConfigInvalid

_FILLED = "$(MODELYARD_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Which requests may share a call to the model."""

    mode: str = AUTO
    """`auto` shares calls where that has shown to pay, `on` always, `off` never."""
    max_rows: int = 64
    """Rows of one call."""
    max_delay_seconds: float = 0.0
    """How long a request may be held back for company while every worker is busy."""
    slo_seconds: float = 0.0
    """The time that a request may take; calls are kept small enough for it. 0 is no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, how long."""

    queue: int = 64
    """Requests that may wait for a worker."""
    request_timeout_seconds: float = 60.0
    """Deadline of a request that brings none of its own."""
    max_body_bytes: int = 64 << 20
    """Of a request's body, after decompression."""
    drain_seconds: float = 30.0
    keep_alive_seconds: float = 0.0
    """How long a connection may idle; 0 is 65 s on TCP, and over an hour on the gateway's Unix socket."""
    batch: Batching = Batching()
    retry: bool = True
    """Whether a request whose worker died is given to another one, once."""
    cache_bytes: int = 0
    """Answers that are kept for equal requests; 0 keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How to start the model's processes."""

    interpreter: str
    """Python program; this process's own when the document names none."""
    package: str
    """Directory of the package `modelyard_worker`; the installed one when the document names none."""
    count: int = 1
    config: Mapping[str, Any]
    """What becomes worker.json."""
    env: Mapping[str, str]
    """The whole environment of the process."""
    cwd: str
    load_timeout_seconds: float = 120.0
    hang_timeout_seconds: float = 10.0
    memory_bytes: int = 0
    """Resident memory above which a worker is ended; 0 is no limit."""
    known_bytes: int = 0
    """What a worker was seen to need once, for the question whether it fits; 0 for unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineConfig:
    """A compiled variant that this process may compute by itself."""

    path: Path
    """Its ONNX file."""
    sha256: str
    row_seconds: float = 0.0
    """What each further row of a batch took when it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model that a front serves."""

    project: str
    service: str
    name: str
    stage: str
    model: str
    version: str
    revision: int
    signature: Signature
    platform: str
    worker: WorkerConfig
    """Also of a variant that runs inline: what is started when it cannot be loaded here."""
    limits: Limits
    task: str = ""
    """What the model is for, such as text-generation or feature-extraction, if it says so."""
    variant: str = "original"
    """What answers: the model as published, or the compiled variant `onnx` or `treelite`."""
    inline: InlineConfig | None = None
    load: bool = True
    """Whether it is loaded at the start; otherwise only when somebody asks for it."""
    comparisons: bool = False
    """Whether answers that a gateway marks are remembered for the platform to compare."""

    @property
    def names(self) -> tuple[str, ...]:
        """Model names that requests may use; the first is the one we answer with."""
        return tuple(dict.fromkeys(n for n in (self.name, self.service, self.model) if n))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """One front: where it listens, and what it serves."""

    replica: str
    listen: str
    state_path: Path
    limits: Limits
    shared_memory: bool = False
    """Whether clients may name shared memory of this machine, which every client could then read."""
    model_control: bool = False
    """Whether clients may unload models; a deployment's models are the platform's to start and stop."""
    platform_sha256: str = ""
    """Of the token that the platform shows at a port that others reach; empty where nobody else can."""
    models: tuple[ModelConfig, ...]
    """At least one. The first is what paths without a model's name mean."""

    @property
    def idle_seconds(self) -> float:
        """How long a connection may idle."""
        if self.limits.keep_alive_seconds:
            return self.limits.keep_alive_seconds
        return 3900.0 if self.listen.startswith("unix:") else 65.0


def read_config(path: Path, *, listen: str = "", replica: str = "") -> ReplicaConfig:
    """Read replica.json; raises ConfigInvalid that names what is wrong.

    `listen` and `replica` go before what it says: replicas of one revision may share a file.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigInvalid(f"{path.name} is not readable: {error}") from None
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{path.name} must be an object")
    own = {name: value for name, value in (("listen", listen), ("replica", replica)) if value}
    return parse_config({**_filled(document, os.environ), **own})


def parse_config(document: Mapping[str, Any]) -> ReplicaConfig:
    """The configuration in replica.json; unknown fields are ignored. Raises ConfigInvalid.

    Without `models` the document itself describes the one model; with it, each model has what the document
    has, but for what it says itself.
    """
    listed = document.get("models", [{}])
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise ConfigInvalid("models: expected a list with at least one object")
    models = tuple(_model({**document, **each}) for each in listed)
    return ReplicaConfig(
        replica=_text(document, "replica", ""),
        listen=_text(document, "listen"),
        state_path=Path(_text(document, "state_path")),
        limits=_limits(_object(document, "limits", {})),
        shared_memory=document.get("shared_memory") is True,
        model_control=document.get("model_control") is True,
        platform_sha256=_text(document, "platform_sha256", ""),
        models=models,
    )


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    """With `$(MODELYARD_…)` at the beginning of texts replaced from the environment, as pods write it."""
    if isinstance(value, dict):
        return {name: _filled(each, environ) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environ) for each in value]
    if not isinstance(value, str) or not value.startswith(_FILLED):
        return value
    name, _, rest = value.removeprefix("$(").partition(")")
    return environ[name] + rest if name in environ else value


def _model(document: Mapping[str, Any]) -> ModelConfig:
    service = _text(document, "service")
    try:
        signature = compile_signature(document.get("signature"))
    except Rejected as error:
        raise ConfigInvalid(str(error)) from None
    return ModelConfig(
        project=_text(document, "project", ""),
        service=service,
        name=_text(document, "name", "") or service.partition("@")[0],
        stage=_text(document, "stage", "production"),
        model=_text(document, "model", ""),
        version=_text(document, "version", ""),
        revision=int(_number(document, "revision", 0)),
        signature=signature,
        platform=_text(document, "platform", ""),
        worker=_worker(_object(document, "worker")),
        variant=_text(document, "variant", "original"),
        inline=_inline(document.get("inline")),
        limits=_limits(_object(document, "limits", {})),
        task=_text(document, "task", ""),
        load=document.get("load") is not False,
        comparisons=document.get("comparisons") is True,
    )


def _inline(document: Any) -> InlineConfig | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise ConfigInvalid(f"inline: expected an object, got {document!r}")
    return InlineConfig(
        path=Path(_text(document, "path", path="inline.")),
        sha256=_text(document, "sha256", path="inline."),
        row_seconds=_number(document, "row_seconds", 0.0, path="inline."),
    )


def _worker(document: Mapping[str, Any]) -> WorkerConfig:
    return WorkerConfig(
        interpreter=_text(document, "interpreter", "", path="worker.") or sys.executable,
        package=_text(document, "package", "", path="worker.") or _guest_host(),
        count=max(1, int(_number(document, "count", 1, path="worker."))),
        config=_object(document, "config", path="worker."),
        env=_inherited(document)
        | {str(key): str(value) for key, value in _object(document, "env", {}, path="worker.").items()},
        cwd=_text(document, "cwd", "/", path="worker."),
        load_timeout_seconds=_number(document, "load_timeout_seconds", 120.0, path="worker."),
        hang_timeout_seconds=_number(document, "hang_timeout_seconds", 10.0, path="worker."),
        memory_bytes=int(_number(document, "memory_bytes", 0, path="worker.")),
        known_bytes=int(_number(document, "known_bytes", 0, path="worker.")),
    )


def _inherited(document: Mapping[str, Any]) -> dict[str, str]:
    """The environment of this process, where it was made for the model, as a container's is."""
    return dict(os.environ) if document.get("inherit_env") is True else {}


def _guest_host() -> str:
    """Directory of the installed guest's host; found, never imported."""
    spec = importlib.util.find_spec("modelyard_worker")
    if spec is None or spec.origin is None:
        raise ConfigInvalid("worker.package: modelyard_worker is not installed beside this program")
    return os.path.dirname(spec.origin)


def _limits(document: Mapping[str, Any]) -> Limits:
    usual = Limits()
    return Limits(
        queue=int(_number(document, "queue", usual.queue, path="limits.")),
        request_timeout_seconds=_number(
            document, "request_timeout_seconds", usual.request_timeout_seconds, path="limits."
        ),
        max_body_bytes=int(_number(document, "max_body_bytes", usual.max_body_bytes, path="limits.")),
        drain_seconds=_number(document, "drain_seconds", usual.drain_seconds, path="limits."),
        keep_alive_seconds=_number(document, "keep_alive_seconds", 0.0, path="limits."),
        batch=_batching(_object(document, "batch", {}, path="limits.")),
        retry=document.get("retry") is not False,
        cache_bytes=int(_number(document, "cache_bytes", 0, path="limits.")),
    )


def _batching(document: Mapping[str, Any]) -> Batching:
    usual, path = Batching(), "limits.batch."
    mode = _text(document, "mode", usual.mode, path=path)
    if mode not in MODES:
        raise ConfigInvalid(f"{path}mode: expected one of {', '.join(MODES)}, got {mode!r}")
    return Batching(
        mode=mode,
        max_rows=max(1, int(_number(document, "max_rows", usual.max_rows, path=path))),
        max_delay_seconds=_number(document, "max_delay_ms", 0.0, path=path) / 1e3,
        slo_seconds=_number(document, "slo_ms", 0.0, path=path) / 1e3,
    )


def _text(document: Mapping[str, Any], name: str, default: str | None = None, *, path: str = "") -> str:
    value = document.get(name, default)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str) or (default is None and not value):
        raise ConfigInvalid(f"{path}{name}: expected text, got {value!r}")
    return value


def _number(document: Mapping[str, Any], name: str, default: float, *, path: str = "") -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ConfigInvalid(f"{path}{name}: expected a number of 0 or more, got {value!r}")
    return float(value)


def _object(
    document: Mapping[str, Any], name: str, default: Mapping[str, Any] | None = None, *, path: str = ""
) -> Mapping[str, Any]:
    value = document.get(name, default)
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{path}{name}: expected an object, got {value!r}")
    return value
