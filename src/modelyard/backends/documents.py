"""What the front and the guest are told, as the JSON documents that they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.backends.base import Guest, Launch
from modelyard.domain import quantity
from modelyard.domain.model import Artifact, Signature, Step
from modelyard.domain.variant import Variant

_HANG_SECONDS = 5.0
"""How long after a request's deadline, or stopped by a signal, a worker may still come back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the backend adds to a launch."""

    address: str
    state_path: str
    work: str
    worker: str
    """Directory of the guest's host."""
    env: Mapping[str, str]
    """Environment of the guest."""
    threads: int
    """Of each worker."""
    max_body_bytes: int
    shared_memory: bool = False


def of_replica(launch: Launch, start: Start) -> dict[str, Any]:
    """The front's configuration, `replica.json`."""
    spec, key = launch.spec, launch.key
    return {
        "project": key.project,
        "service": key.service,
        "name": key.name,
        "stage": key.stage.value,
        "model": launch.model,
        "version": launch.version,
        "revision": launch.revision,
        "replica": launch.replica,
        "listen": start.address,
        "signature": asdict(launch.guest.artifact.signature),
        "platform": launch.guest.artifact.format.value,
        "task": launch.guest.artifact.task.value,
        "state_path": start.state_path,
        "shared_memory": start.shared_memory,
        "comparisons": True,
        "variant": launch.guest.variant.value,
        "inline": _inline(launch.guest),
        "worker": {
            "interpreter": launch.guest.interpreter,
            "package": start.worker,
            "count": spec.workers,
            "config": {**of_worker(launch.guest, threads=start.threads), "warmup": spec.warmup},
            "env": dict(start.env),
            "cwd": start.work,
            "load_timeout_seconds": spec.start_timeout_seconds,
            "hang_timeout_seconds": _HANG_SECONDS,
            "memory_bytes": launch.memory_bytes // spec.workers,
            "known_bytes": launch.guest.known_bytes,
        },
        "limits": {
            "queue": spec.queue_size,
            "request_timeout_seconds": spec.request_timeout_seconds,
            "max_body_bytes": start.max_body_bytes,
            "drain_seconds": spec.drain_seconds,
            "batch": {
                "mode": spec.batch,
                "max_rows": spec.batch_max_rows,
                "max_delay_ms": spec.batch_max_delay_ms,
                "slo_ms": spec.latency_slo_ms,
            },
            "retry": spec.retry,
            "cache_bytes": quantity.parse_memory(spec.cache, "spec.cache"),
        },
    }


def of_worker(guest: Guest, *, threads: int) -> dict[str, Any]:
    """The guest's configuration, `worker.json`; a signature that says nothing is null."""
    artifact = guest.artifact
    document = {
        **_of_artifact(artifact, str(guest.path)),
        "files": [asdict(file) for file in artifact.files],
        "runtime": guest.runtime,
        "threads": threads,
    }
    if guest.variant is not Variant.ORIGINAL:
        document |= {
            "format": "variant",
            "serialization": guest.variant.value,
            "entry": artifact.variant[0].path,
            "path": str(guest.variant_path),
            "files": [asdict(file) for file in artifact.variant],
        }
    if artifact.pipeline is not None:
        more = {"runtime": guest.runtime, "threads": threads}
        document["steps"] = [_of_step(step, guest, more) for step in artifact.pipeline.steps]
        document["outputs"] = artifact.pipeline.outputs
    return document


def _of_step(step: Step, guest: Guest, more: Mapping[str, Any]) -> dict[str, Any]:
    config = {**_of_artifact(step.artifact, str(guest.path / step.folder)), **more}
    return {"name": step.name, "inputs": step.inputs, "after": step.after, "config": config}


def _of_artifact(artifact: Artifact, path: str) -> dict[str, Any]:
    return {
        "format": artifact.format.value,
        "serialization": artifact.serialization.value,
        "entry": artifact.entry,
        "path": path,
        "signature": asdict(artifact.signature) if artifact.signature != Signature() else None,
        "function": artifact.function.value,
        "task": artifact.task.value,
        "framework_version": artifact.framework_version,
    }


def _inline(guest: Guest) -> dict[str, Any] | None:
    """What the front needs to compute the variant by itself; None when it may not."""
    if not guest.inline or guest.variant is not Variant.ONNX:
        return None
    (file,) = guest.artifact.variant
    return {
        "path": f"{guest.variant_path}/{file.path}",
        "sha256": file.sha256,
        "row_seconds": guest.artifact.optimization.row_seconds,
    }
