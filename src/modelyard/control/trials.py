"""Tests of a model in a process of its own, which is gone with its memory and GPUs afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.backends.base import Answer, Guest, Task, TaskKind
from modelyard.control import authorise, downloads, environments, missing, models, tasks
from modelyard.control.platform import Platform
from modelyard.domain import gpu, naming, quantity
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import FieldError, Invalid, ModelyardError, Refused, TimedOut, Unavailable
from modelyard.domain.explain import remedy
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model import Artifact, ModelVersion
from modelyard.domain.runtime import AUTO, RuntimeState, RuntimeStatus
from modelyard.domain.views import TestResult
from modelyard.store import projects

KIND = "version"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRequest:
    """One request to a model under test."""

    __test__ = False

    inputs: dict[str, Any] | None = None
    """Tensor name to nested lists."""
    rows: Any = None
    """Records, lists of values, or `{"columns", "data"}`; without either, the version's sample is used."""
    artifact: str = ""
    runtime: str = AUTO
    timeout_seconds: float | None = None
    memory: str = "0"
    gpu: str = "0"


async def test(
    platform: Platform, actor: Actor, project: str, ref: naming.ModelRef, request: TestRequest
) -> TestResult:
    """Answer one request; raises Refused when the model fails, Unavailable while its runtime is built.

    The outcome has what the guest printed, the device it used, and warnings about versions.
    """
    await authorise.in_project(platform, actor, Verb.TEST, project, kind=KIND, name=str(ref))
    timeout = _timeout(platform, request)
    wanted = _wanted(platform, request)
    host = await platform.environments.host()
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        version = await models.resolve(tx, project, ref)
        artifact = downloads.choose(version, request.artifact)
        named = request.runtime or AUTO
        choice = await environments.choose(platform, tx, version, artifact, wanted=named, host=host)
    if choice.build is not None:
        await environments.build(platform, choice.build)
    runtime = await environments.status(platform, project, choice.name)
    if runtime is not None:
        runtime = await environments.with_alternatives(platform, version, artifact, runtime)
    guest = await guest_of(platform, version, artifact, choice.name, _ready(choice.name, runtime))
    task = Task(
        kind=TaskKind.TEST,
        guest=guest,
        request=_asked(version, artifact, request),
        timeout_seconds=timeout,
        memory_bytes=quantity.parse_memory(request.memory, "memory"),
        wanted=wanted,
    )
    answer = await tasks.run(platform, tasks.subject_of(version), task)
    if answer.result is None:
        raise failed(answer, {"model": version.ref, "project": project, "runtime": choice.name})
    return TestResult(
        outputs=dict(answer.result.get("outputs", {})),
        stdout=answer.stdout,
        stderr=answer.stderr,
        device=answer.device,
        runtime=choice.name,
        duration_seconds=answer.duration_seconds,
        warnings=choice.warnings,
    )


async def guest_of(
    platform: Platform, version: ModelVersion, artifact: Artifact, runtime: str, status: RuntimeStatus | None
) -> Guest:
    """The model and the environment to load it in; raises Refused for a volume that nothing here mounts."""
    location = version.location
    if location is not None and (why := platform.backend.refuses_model_files(location)):
        raise Refused(f"{version.model} was published from a volume: {why}")
    path = await platform.artifacts.tree(artifact.files) if location is None else Path("/")
    env = {
        "MODELYARD_PROJECT": version.project,
        "MODELYARD_MODEL": version.model,
        "MODELYARD_MODEL_VERSION": version.version,
        "MODELYARD_MODEL_PATH": str(path),
    }
    interpreter, image = (status.interpreter, status.image) if status else ("", "")
    return Guest(
        artifact=artifact, path=path, interpreter=interpreter, image=image, runtime=runtime, env=env,
        location=location,
    )  # fmt: skip


def failed(answer: Answer, words: dict[str, str]) -> ModelyardError:
    """The error for a guest that failed, with the remedy and the end of what it printed."""
    failure = answer.failure
    reason = failure.reason if failure else "StartFailed"
    message = failure.message if failure else "the guest gave no answer"
    hint = remedy(reason, words)
    text = f"{reason}: {message}" + (f" {hint}" if hint and hint not in message else "")
    errors = [
        FieldError(stream, tail)
        for stream, tail in (("stdout", answer.stdout[-2000:]), ("stderr", answer.stderr[-2000:]))
        if tail
    ]
    if reason in ("LoadTimeout", "WorkerHung"):
        return TimedOut(text, errors=errors)
    if reason in ("InsufficientResources", "DiskFull", "Queued"):
        return Unavailable(text, errors=errors, retry_after_seconds=10.0)
    return Refused(text, errors=errors)


def _timeout(platform: Platform, request: TestRequest) -> float:
    timeout = platform.test_timeout_seconds if request.timeout_seconds is None else request.timeout_seconds
    if not 0.1 <= timeout <= 3600:
        message = f"must be between 0.1 and 3600, got {timeout:g}"
        raise Invalid(f"timeout_seconds: {message}", errors=[FieldError("timeout_seconds", message)])
    return timeout


def _asked(version: ModelVersion, artifact: Artifact, request: TestRequest) -> dict[str, Any]:
    if request.inputs is not None and request.rows is not None:
        message = "give either `inputs` or `rows`, not both"
        raise Invalid(message, errors=[FieldError("rows", message)])
    if request.inputs is not None:
        return {"inputs": request.inputs}
    if request.rows is not None:
        return {"rows": request.rows}
    if artifact.signature.sample is not None:
        return {"inputs": artifact.signature.sample}
    message = f"give `inputs` or `rows`; {version.ref} was published without a sample"
    raise Invalid(message, errors=[FieldError("inputs", message)])


def _ready(name: str, runtime: RuntimeStatus | None) -> RuntimeStatus:
    """The runtime once it is ready; raises Unavailable while it is built, Refused when it cannot be."""
    if runtime is not None and runtime.state is RuntimeState.READY:
        return runtime
    if runtime is not None and runtime.state is RuntimeState.FAILED:
        raise Refused(f"{runtime.reason or 'RuntimeBuildFailed'}: runtime {name}: {runtime.message}")
    raise Unavailable(f"runtime {name} is being built; try again in a moment", retry_after_seconds=2.0)


def _wanted(platform: Platform, request: TestRequest) -> GpuRequest:
    """What the test asks of GPUs; raises Invalid where nothing here can ever give that out."""
    wanted = gpu.parse(request.gpu, "gpu")
    if message := platform.backend.refuses_gpus(wanted):
        raise Invalid(f"gpu: {message}", errors=[FieldError("gpu", message)])
    return wanted
