"""What a deploy would do here and now, and whether it would break those who call the service."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import downloads, models
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import launching
from modelyard.domain import compatibility, naming, planning, scaling
from modelyard.domain.deployment import Deployment, DeploymentSpec, Revision, Stage
from modelyard.domain.errors import FieldError, NotFound, Refused
from modelyard.domain.model import Signature
from modelyard.domain.placement import Request, place_all
from modelyard.domain.planning import Act
from modelyard.store import Snapshot, revisions


async def breaking(tx: Snapshot, before: Deployment | None, run: DeploymentSpec) -> tuple[str, ...]:
    """What requests to the production service of today would break on, were `run` to answer them.

    Nothing for other stages, which are there to try, and nothing while nobody is answered.
    """
    if before is None or before.stage is not Stage.PRODUCTION or before.spec.replicas == 0:
        return ()
    serving = await _serving(tx, before)
    if serving is None:
        return ()
    old, new = await _signature(tx, before.project, serving.spec), await _signature(tx, before.project, run)
    return compatibility.breaking(old, new) if old and new else ()


def require_compatible(service: str, found: tuple[str, ...], *, allow_breaking: bool) -> None:
    """Nothing when nothing breaks, or when it may; else Refused, naming each place and the remedy."""
    if not found or allow_breaking:
        return
    raise Refused(
        f"requests that {service} answers today would break: {'; '.join(found)}. Use another name, "
        "or say --allow-breaking (allow_breaking=true) if its callers know",
        errors=[
            FieldError(f"spec.model.{each.partition(': ')[0]}", each.partition(": ")[2]) for each in found
        ],
    )


def sized(before: Deployment | None, spec: DeploymentSpec) -> DeploymentSpec:
    """The spec with the number of replicas that load and clock leave of it now.

    A service that sleeps is woken by a change, so that whoever makes it sees whether it works.
    """
    after = replace(before, spec=spec) if before else None
    if before is None or after is None or not scaling.honoured(after):
        return spec
    wakes = spec is not before.spec and scaling.wakes(after)
    return replace(spec, replicas=max(scaling.asked(after), int(wakes)))


async def room(platform: Platform, before: DeploymentSpec | None, run: DeploymentSpec, kind: Act) -> str:
    """Why the replicas that the plan adds would have to wait; empty when there is room for them now."""
    count = planning.added_replicas(before, run, kind)
    request = Request.of(run.resources)
    if count == 0 or request == Request():
        return ""
    held = await launching.held(platform)
    places, unfit = place_all(request, await platform.backend.nodes(), held, count=count)
    return f"{len(places)} of {count} new replicas have room now: {unfit.message}" if unfit else ""


async def _serving(tx: Snapshot, deployment: Deployment) -> Revision | None:
    """The revision that answers now: the last good one, else the wanted one."""
    number = deployment.status.good_revision or deployment.wanted_revision
    return await revisions.get(tx, deployment.key, number)


async def _signature(tx: Snapshot, project: str, spec: DeploymentSpec) -> Signature | None:
    """What the model of this spec takes and gives; None when it is gone, or there was never one."""
    if not spec.model:
        return None
    try:
        version = await models.resolve(tx, project, naming.parse_model_ref(spec.model))
        return downloads.choose(version, spec.artifact).signature
    except NotFound:
        return None
