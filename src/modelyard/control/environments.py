"""The environment that a version runs in: chosen, looked up, asked to be built."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.control import kinds
from modelyard.control.platform import Platform
from modelyard.domain import environment, requirement
from modelyard.domain.model import Artifact, ModelVersion
from modelyard.domain.runtime import HOST, Runtime, RuntimeState, RuntimeStatus
from modelyard.store import Snapshot, Transaction, runtimes, work


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The runtime for a version."""

    name: str
    build: Runtime | None = None
    """An automatic runtime that has to be made first."""
    warnings: tuple[str, ...] = ()


async def choose(
    platform: Platform,
    tx: Snapshot,
    version: ModelVersion,
    artifact: Artifact,
    *,
    wanted: str,
    host: RuntimeStatus,
) -> Chosen:
    """The runtime to deploy or test a version with; raises NotFound, Refused, Invalid or Conflict."""
    known = tuple(_expected(r) for r in (await runtimes.list(tx, version.project, limit=1000)).items)
    choice = environment.choose(version, artifact, wanted, host=host, runtimes=known)
    existing = next((r for r in known if r.name == choice.runtime), None)
    if choice.build is None or (existing is not None and not existing.deleting):
        return Chosen(name=choice.runtime, warnings=choice.warnings)
    made = Runtime(
        project=version.project,
        name=choice.runtime,
        automatic=True,
        spec=choice.build,
        created_at=platform.at(),
    )
    return Chosen(name=made.name, build=made, warnings=choice.warnings)


async def status(platform: Platform, project: str, name: str) -> RuntimeStatus | None:
    """How far a runtime is; None when there is none of that name."""
    if name == HOST:
        return await platform.environments.host()
    async with platform.database.read() as tx:
        found = await runtimes.get(tx, project, name)
    return found.status if found else None


async def with_alternatives(
    platform: Platform, version: ModelVersion, artifact: Artifact, status: RuntimeStatus
) -> RuntimeStatus:
    """The status; of a runtime that cannot reach its index, with the names of those that would do instead."""
    if status.state is not RuntimeState.FAILED or status.reason != "IndexUnreachable":
        return status
    host = await platform.environments.host()
    async with platform.database.read() as tx:
        known = (await runtimes.list(tx, version.project, limit=1000)).items
    built_in = (HOST,) if environment.would_do(version, artifact, host) else ()
    names = (*built_in, *environment.suitable(version, artifact, known))
    hint = f"built already, and good for it: {', '.join(names)}" if names else "none that is built would do"
    return replace(status, message=f"{status.message}; {hint}")


async def order(platform: Platform, tx: Transaction, made: Runtime) -> None:
    """Record an automatic runtime, if it is not there, and make its build due."""
    before = await runtimes.get(tx, made.project, made.name)
    if before is None:
        await runtimes.insert(tx, made)
    elif before.deleting:
        # Wanted again before it was gone: its removal is called off.
        await runtimes.update(tx, made, expected=before.generation)
    await work.put(tx, kinds.RUNTIME, kinds.runtime_key(made.project, made.name), due_at=platform.clock())


async def build(platform: Platform, made: Runtime) -> None:
    """Have an automatic runtime built, in a transaction of its own."""
    async with platform.database.begin() as tx:
        await order(platform, tx, made)
    platform.hint(kinds.RUNTIME, kinds.runtime_key(made.project, made.name))


def _expected(runtime: Runtime) -> Runtime:
    """With the packages that it is to have, as long as nobody knows which it has: warnings need not wait."""
    if runtime.status.packages:
        return runtime
    pins = (requirement.parse(line) for line in runtime.spec.packages)
    packages = {pin.name: pin.version for pin in pins if pin is not None}
    return replace(runtime, status=replace(runtime.status, packages=packages))
