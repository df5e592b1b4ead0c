"""Runtimes: the interpreter Modelyard runs in, defined ones, and those made for versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from modelyard.control import authorise, kinds, missing
from modelyard.control.platform import Platform
from modelyard.control.preconditions import require_generation
from modelyard.domain import naming
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.domain.runtime import AUTO, HOST, Runtime, RuntimeSpec, RuntimeStatus
from modelyard.store import Page, Snapshot, Transaction, deployments, projects, revisions, work
from modelyard.store import runtimes as store

KIND = "runtime"


async def list(
    platform: Platform, actor: Actor, project: str, *, limit: int = 100, after: str = ""
) -> Page[Runtime]:
    """The project's runtimes by name; `host` comes first on the first page."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        page = await store.list(tx, project, limit=limit, after=after)
    return page if after else Page((await _host(platform, project), *page.items), page.next)


async def get(platform: Platform, actor: Actor, project: str, name: str) -> Runtime:
    """One runtime with its status; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=name)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        if name != HOST:
            return await _found(tx, project, name)
    return await _host(platform, project)


async def apply(
    platform: Platform,
    actor: Actor,
    project: str,
    name: str,
    spec: RuntimeSpec,
    *,
    expected: int | None = None,
) -> Runtime:
    """Create or replace a runtime; building begins at once.

    Naming an `interpreter` of this machine is for administrators. Deployments that use it go on with what
    they run and take the new environment when restarted.
    """
    await authorise.in_project(platform, actor, Verb.DEPLOY, project, kind=KIND, name=name)
    _require_definable(name)
    if spec.image and (why := platform.backend.refuses_images()):
        raise Invalid(f"spec.image: {why}", errors=[FieldError("spec.image", why)])
    if spec.interpreter:
        await authorise.administrator(platform, actor, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        before = await store.get(tx, project, name)
        require_generation("the runtime", before, expected)
        if before is None:
            after = Runtime(project=project, name=name, spec=spec, created_at=platform.at())
            await store.insert(tx, after)
        elif before.spec == spec and not before.deleting:
            return before
        else:
            changed = replace(before, spec=spec, deleting=False)
            after = await store.update(tx, changed, expected=before.generation)
        reason = "Changed" if before else "Created"
        message = (spec.interpreter or ", ".join(filter(None, (spec.image, *spec.packages))))[:500]
        await _announce(platform, tx, actor, after, reason=reason, message=message)
    platform.hint(kinds.RUNTIME, kinds.runtime_key(project, name))
    return after


async def build(platform: Platform, actor: Actor, project: str, name: str) -> Runtime:
    """Build again after a failure; nothing for one that is ready or being built."""
    await authorise.in_project(platform, actor, Verb.DEPLOY, project, kind=KIND, name=name)
    if name == HOST:
        return await _host(platform, project)
    async with platform.database.begin() as tx:
        runtime = await _found(tx, project, name)
        after = await store.update(tx, runtime, expected=runtime.generation)
        await _announce(platform, tx, actor, after, reason="BuildAsked")
    platform.hint(kinds.RUNTIME, kinds.runtime_key(project, name))
    return after


async def delete(platform: Platform, actor: Actor, project: str, name: str) -> None:
    """Begin to remove a runtime; raises Conflict while a deployment uses it."""
    await authorise.in_project(platform, actor, Verb.DEPLOY, project, kind=KIND, name=name)
    if name == HOST:
        raise Conflict("the runtime `host` is the interpreter that Modelyard runs in; it cannot be deleted")
    async with platform.database.begin() as tx:
        runtime = await _found(tx, project, name)
        using = await users(tx, project, name)
        if using:
            services = ", ".join(using[:5])
            raise Conflict(f"runtime {name!r} is used by deployment {services}; undeploy or change it first")
        if not runtime.deleting:
            await store.update(tx, replace(runtime, deleting=True), expected=runtime.generation)
            await _announce(platform, tx, actor, runtime, reason="Deleting")
    platform.hint(kinds.RUNTIME, kinds.runtime_key(project, name))


async def users(tx: Snapshot, project: str, name: str) -> tuple[str, ...]:
    """Services whose spec, newest revision or good revision runs in the runtime."""
    named = {d.key.service for d in await deployments.using_runtime(tx, project, name)}
    after = ""
    while True:
        page = await deployments.list(tx, project, limit=1000, after=after)
        for deployment in page.items:
            newest = await revisions.get(tx, deployment.key, deployment.revision)
            if newest is not None and newest.spec.runtime == name:
                named.add(deployment.key.service)
        after = page.next
        if not after:
            return tuple(sorted(named))


async def _found(tx: Snapshot, project: str, name: str) -> Runtime:
    runtime = await store.get(tx, project, name)
    if runtime is None:
        raise missing.runtime(project, name)
    return runtime


async def _host(platform: Platform, project: str) -> Runtime:
    """The interpreter Modelyard runs in, shown as a runtime of each project."""
    status: RuntimeStatus = await platform.environments.host()
    return Runtime(
        project=project,
        name=HOST,
        automatic=True,
        spec=RuntimeSpec(python=status.python, description="the interpreter that Modelyard runs in"),
        status=status,
        created_at=datetime.fromtimestamp(0, UTC),
    )


def _require_definable(name: str) -> None:
    naming.require_name(name, "name")
    if name in (HOST, AUTO) or name.startswith(f"{AUTO}-"):
        message = f"{name!r} is kept for the platform; choose another name"
        raise Invalid(f"name: {message}", errors=[FieldError("name", message)])


async def _announce(
    platform: Platform, tx: Transaction, actor: Actor, runtime: Runtime, *, reason: str, message: str = ""
) -> None:
    project, name = runtime.project, runtime.name
    await authorise.note(
        platform, tx, actor, project=project, kind=KIND, name=name, reason=reason, message=message
    )
    await work.put(tx, kinds.RUNTIME, kinds.runtime_key(project, name), due_at=platform.clock())
