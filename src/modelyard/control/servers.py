"""What a spec's server needs: model, runtime, the program made of them; and who may ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from modelyard.control import authorise, downloads, environments, missing, models
from modelyard.control.platform import Platform
from modelyard.domain import gpu, model_files, mounts, naming, quantity
from modelyard.domain import program as programs
from modelyard.domain import revisions as rules
from modelyard.domain.access import Actor
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key
from modelyard.domain.errors import FieldError, Forbidden, Invalid
from modelyard.domain.model import Artifact, ModelVersion
from modelyard.domain.program import Program, Subject
from modelyard.domain.project import Trust
from modelyard.domain.runtime import AUTO, HOST, Runtime, RuntimeStatus
from modelyard.store import Snapshot, deployments, projects, runtimes

KIND = "deployment"
_GPU = "spec.resources.gpu"
_FILES = "spec.model_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a spec means now."""

    spec: DeploymentSpec
    """With its model pinned."""
    run: DeploymentSpec
    """With the runtime resolved as well."""
    build: Runtime | None = None
    """An automatic runtime that has to be made first."""
    warnings: tuple[str, ...] = ()


async def resolve(
    platform: Platform, tx: Snapshot, project: str, spec: DeploymentSpec, host: RuntimeStatus
) -> Resolved:
    """Pin the model and choose the runtime; raises NotFound, Refused, Invalid or Conflict."""
    if not spec.model:
        return await _other(platform, tx, project, spec, version="")
    found = await models.resolve(tx, project, naming.parse_model_ref(spec.model, "spec.model"))
    artifact = downloads.choose(found, spec.artifact)
    _require_within_reach(platform, found, spec)
    spec = replace(spec, model=found.ref)
    if not spec.server.is_own:
        return await _other(platform, tx, project, spec, version=found.version)
    choice = await environments.choose(platform, tx, found, artifact, wanted=spec.runtime, host=host)
    run = rules.pin(spec, version=found.version, runtime=choice.name)
    warnings = (*choice.warnings, *_unenforced(platform, spec))
    return Resolved(spec=spec, run=run, build=choice.build, warnings=warnings)


async def require_permitted(platform: Platform, actor: Actor, key: Key, spec: DeploymentSpec) -> None:
    """Nothing when the actor may ask for what is new in the spec; else Forbidden, naming the field.

    A command of one's own runs as the platform's user, which is as much as trusting every file of a project.
    """
    if actor.administrator or not (mounts.of_host(spec.mounts) or any(_commands(spec))):
        return
    async with platform.database.read() as tx:
        project = await projects.get(tx, key.project)
        before = await deployments.get(tx, key)
    known = before.spec if before else DeploymentSpec(model="none@1")
    refused = _refused(spec, known, trusted=project is not None and project.spec.trust is Trust.FULL)
    if refused is not None:
        await authorise.denied(
            platform, actor, project=key.project, kind=KIND, name=key.service, message=refused.message
        )
        raise refused


async def require_shell_permitted(platform: Platform, actor: Actor, key: Key) -> None:
    """Nothing when the actor may run commands in replicas of the project; else Forbidden."""
    async with platform.database.read() as tx:
        project = await projects.get(tx, key.project)
    if actor.administrator or (project is not None and project.spec.trust is Trust.FULL):
        return
    message = (
        "commands in a replica run as the platform's user; ask an administrator to set the trust of "
        f"project {key.project} to `full`"
    )
    await authorise.denied(platform, actor, project=key.project, kind=KIND, name=key.service, message=message)
    raise Forbidden(message)


def program_of(
    spec: DeploymentSpec, name: str, version: ModelVersion | None, artifact: Artifact | None
) -> Program | None:
    """The program that runs for a pinned spec; None for Modelyard's own server."""
    if spec.server.is_own:
        return None
    if version is None or artifact is None:
        return programs.program(spec, Subject(name=name))
    subject = Subject(
        name=name,
        version=version.version,
        entry=artifact.entry,
        serialization=artifact.serialization,
        signature=artifact.signature,
        gpus=gpu.parse(spec.resources.gpu, _GPU).count,
    )
    return programs.program(spec, subject)


async def shown(tx: Snapshot, deployment: Deployment) -> Program:
    """The program of a deployment as it is wanted now; raises NotFound when its model is gone."""
    spec, version, artifact = deployment.spec, None, None
    if spec.server.is_own:
        files = programs.files(spec)
        return Program(kind=spec.server.kind, files=files, env=spec.env, health=spec.health)
    if spec.model:
        version = await models.resolve(tx, deployment.project, naming.parse_model_ref(spec.model))
        artifact = downloads.choose(version, spec.artifact)
    return program_of(spec, deployment.name, version, artifact) or Program(kind=spec.server.kind)


async def _other(
    platform: Platform, tx: Snapshot, project: str, spec: DeploymentSpec, *, version: str
) -> Resolved:
    """Another server needs no runtime; one that is named gives it its Python."""
    if spec.runtime not in (AUTO, HOST) and await runtimes.get(tx, project, spec.runtime) is None:
        raise missing.runtime(project, spec.runtime)
    run = rules.pin(spec, version=version, runtime=HOST if spec.runtime == AUTO else spec.runtime)
    return Resolved(spec=spec, run=run, warnings=tuple(_unenforced(platform, spec)))


def _unenforced(platform: Platform, spec: DeploymentSpec) -> Iterator[str]:
    """What of the spec has no effect here, or another than it may look like."""
    images = platform.backend.enforcement().get("images of servers", "")
    if spec.server.image and images.startswith("not enforced"):
        yield f"server.image {spec.server.image}: {images}"
    if given := platform.backend.gives_gpus(gpu.parse(spec.resources.gpu, _GPU)):
        yield given
    laid = platform.backend.enforcement().get("mounts", "")
    sized = [mount.path for mount in spec.mounts if quantity.parse_memory(mount.size, "size")]
    if sized and "not enforced" in laid:
        yield f"mounts {', '.join(sized)}: {laid}"


def require_possible(platform: Platform, spec: DeploymentSpec) -> None:
    """Raises Invalid when nothing here can ever give out GPUs, or lay files, as the spec asks."""
    own = spec.server.is_own
    configured = programs.files(spec) if own else programs.program(spec, Subject(name="any")).files
    files = model_files.parse(spec.model_files, _FILES)
    wrong = [
        FieldError(field, message)
        for field, message in (
            (_GPU, platform.backend.refuses_gpus(gpu.parse(spec.resources.gpu, _GPU))),
            (_FILES, platform.backend.refuses_model_files(files) if files else ""),
        )
        if message
    ]
    wrong += mounts.config_errors(spec.mounts, configured, "spec.mounts")
    wrong += [
        FieldError(f"spec.mounts[{number}].path", message)
        for number, mount in enumerate(spec.mounts)
        if (message := platform.backend.refuses_mount(mount))
    ]
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)


def _require_within_reach(platform: Platform, version: ModelVersion, spec: DeploymentSpec) -> None:
    """Raises Invalid when nothing here can mount the volume that a version's files are on."""
    if version.location is None or spec.model_files:
        return
    if why := platform.backend.refuses_model_files(version.location):
        message = f"{version.ref} was published from a volume: {why}"
        raise Invalid(f"spec.model: {message}", errors=[FieldError("spec.model", message)])


def _commands(spec: DeploymentSpec) -> tuple[object, ...]:
    """Everything in a spec that is run as it was written."""
    probes = (spec.health.readiness, spec.health.liveness)
    return (
        spec.server.command,
        spec.server.working_directory,
        *(probe.command for probe in probes if probe is not None and probe.command),
    )


def _refused(spec: DeploymentSpec, known: DeploymentSpec, *, trusted: bool) -> Forbidden | None:
    """Why the spec may not be deployed by one who is no administrator; None when it may."""
    hosted = mounts.of_host(spec.mounts) - mounts.of_host(known.mounts)
    if hosted:
        number = next(n for n, mount in enumerate(spec.mounts) if mount in hosted)
        message = "directories of the machine are for administrators to mount; ask one, or take another kind"
        return _forbidden(f"spec.mounts[{number}]", message)
    if trusted or _commands(known) == _commands(spec):
        return None
    where = "spec.server.command" if spec.server.is_free else "spec.health"
    message = (
        "commands of one's own run as the platform's user; ask an administrator to deploy this, or to set "
        "the trust of the project to `full`"
    )
    return _forbidden(where, message)


def _forbidden(path: str, message: str) -> Forbidden:
    return Forbidden(f"{path}: {message}", errors=[FieldError(path, message)])
