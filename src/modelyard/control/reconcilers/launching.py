"""Starting replicas: the revision's version and runtime, a place for it, and the launch itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelyard.backends.base import Guest, Launch
from modelyard.control import downloads, environments, models, servers, trials, usable, variants
from modelyard.control.platform import Platform
from modelyard.domain import footprint, naming, rollout
from modelyard.domain.deployment import Deployment, Failure, Key, Revision
from modelyard.domain.errors import BackendError, ModelyardError, NotFound, Refused, TooLarge, Unavailable
from modelyard.domain.model import NO_MODEL, ModelVersion
from modelyard.domain.placement import Claim, Placement, Request, Unfit, claims, place_all
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.store import Snapshot, revisions

Places = Mapping[int, tuple[Placement, ...]]


async def relevant(tx: Snapshot, deployment: Deployment) -> dict[int, Revision]:
    """The wanted revision and, while it differs, the good one, by number."""
    numbers = {deployment.wanted_revision, deployment.status.good_revision} - {0}
    found = [await revisions.get(tx, deployment.key, number) for number in sorted(numbers)]
    return {revision.number: revision for revision in found if revision is not None}


async def runtime(platform: Platform, revision: Revision) -> RuntimeStatus | None:
    """How far the revision's runtime is; None when it does not exist."""
    return await environments.status(platform, revision.project, revision.spec.runtime)


def anywhere(deployment: Deployment, runtimes: Mapping[int, RuntimeStatus | None]) -> Places:
    """Places without end, for the revisions whose runtime is ready: to see whether any are needed at all."""
    many = (Placement(node=""),) * (rollout.wanted_replicas(deployment) + deployment.spec.max_surge)
    return {number: many for number, status in runtimes.items() if _is_ready(status)}


async def places(
    platform: Platform,
    deployment: Deployment,
    known: Mapping[int, Revision],
    runtimes: Mapping[int, RuntimeStatus | None],
) -> tuple[Places, Unfit | None]:
    """The places that there are now, by revision; and why the wanted revision has no more of them."""
    nodes = await platform.backend.nodes()
    most = rollout.wanted_replicas(deployment) + deployment.spec.max_surge
    found: dict[int, tuple[Placement, ...]] = {}
    unfit: Unfit | None = None
    for number, revision in known.items():
        if not _is_ready(runtimes.get(number)):
            continue
        request = Request.of(revision.spec.resources)
        taken = await held(platform) if request != Request() else ()
        found[number], reason = place_all(request, nodes, taken, count=most)
        if number == deployment.wanted_revision and not found[number]:
            unfit = reason
    return found, unfit


async def start(
    platform: Platform,
    revision: Revision,
    status: RuntimeStatus | None,
    replica: str,
    placement: Placement,
) -> Failure | None:
    """Begin a replica; why not, when what it needs is not there or the backend refuses."""
    try:
        await platform.backend.start(await _launch(platform, revision, status, replica, placement))
    except NotFound as error:
        return Failure(reason="ModelMissing", message=error.message)
    except Refused as error:
        return Failure(reason="ArtifactCorrupt", message=error.message)
    except (Unavailable, TooLarge) as error:
        return Failure(reason=_reason_of(error), message=error.message)
    except BackendError as error:
        if error.retryable:
            # It may have been started all the same: the next observation tells.
            raise
        return Failure(reason=error.reason, message=error.message)
    return None


async def _launch(
    platform: Platform,
    revision: Revision,
    status: RuntimeStatus | None,
    replica: str,
    placement: Placement,
) -> Launch:
    spec = revision.spec
    request = Request.of(spec.resources)
    version, guest = await _model(platform, revision, status)
    artifact = guest.artifact if version else None
    return Launch(
        key=Key(revision.project, revision.name, revision.stage),
        replica=replica,
        revision=revision.number,
        model=version.model if version else "",
        version=version.version if version else "",
        spec=spec,
        guest=guest,
        cpu_millis=request.cpu_millis,
        memory_bytes=request.memory_bytes,
        gpus=placement.gpus,
        program=servers.program_of(spec, revision.name, version, artifact),
        creator=revision.created_by,
        secrets=await usable.values(platform, revision.project, spec),
    )


async def _model(
    platform: Platform, revision: Revision, status: RuntimeStatus | None
) -> tuple[ModelVersion | None, Guest]:
    """The version that is served, if any, and the guest that it is to the backend."""
    spec = revision.spec
    if not spec.model:
        interpreter, image = (status.interpreter, status.image) if status else ("", "")
        return None, Guest(
            artifact=NO_MODEL, path=Path(), interpreter=interpreter, image=image, runtime=spec.runtime
        )
    async with platform.database.read() as tx:
        version = await models.resolve(tx, revision.project, naming.parse_model_ref(spec.model))
    artifact = downloads.choose(version, spec.artifact)
    guest = await trials.guest_of(platform, version, artifact, spec.runtime, status)
    if spec.server.is_own:
        guest = await variants.served(platform, guest, spec, status)
    if spec.server.is_own and not spec.artifact:
        guest = replace(guest, known_bytes=footprint.needed(version.memory, guest.variant.value))
    return version, guest


async def held(platform: Platform) -> tuple[Claim, ...]:
    """What all running replicas hold, as the backend sees them, and the cards of tasks."""
    running = [r for key in await platform.backend.keys() for r in await platform.backend.observe(key)]
    return (*claims(running), *platform.line.claims())


def _is_ready(status: RuntimeStatus | None) -> bool:
    return status is not None and status.state is RuntimeState.READY


def _reason_of(error: ModelyardError) -> str:
    return "DiskFull" if "disk" in error.message.lower() else "StartFailed"
