"""Secrets of a project: set and deleted, used by deployments, and never read back by anybody."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from modelyard.control import authorise, division, kinds, missing, operations, sealing
from modelyard.control.platform import Platform
from modelyard.control.preconditions import require_generation
from modelyard.domain import naming
from modelyard.domain import secret as rules
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment, DeploymentSpec
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.domain.secret import Secret
from modelyard.store import Page, Snapshot, Transaction, projects, revisions
from modelyard.store import secrets as store

KIND = "secret"

_User = tuple[Deployment, tuple[DeploymentSpec, ...]]
"""A deployment, and the specs whose replicas it has or may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of a secret's values."""

    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    remove: frozenset[str] = frozenset()
    replace: bool = False
    """Whether those that are not given go."""


async def list(
    platform: Platform, actor: Actor, project: str, *, limit: int = 100, after: str = ""
) -> Page[Secret]:
    """The project's secrets by name, with their keys and who uses them."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        page = await store.list(tx, project, limit=limit, after=after)
        users = await _users(tx, project) if page.items else {}
    return Page(tuple(_shown(each, users) for each in page.items), page.next)


async def get(platform: Platform, actor: Actor, project: str, name: str) -> Secret:
    """What may be told of one secret; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=name)
    async with platform.database.read() as tx:
        found = await store.get(tx, project, name)
        if found is None:
            raise missing.secret(project, name)
        return _shown(found[0], await _users(tx, project))


async def set(
    platform: Platform,
    actor: Actor,
    project: str,
    name: str,
    change: Change,
    *,
    expected: int | None = None,
) -> Secret:
    """Create or change a secret. Deployments that read what changed get a new revision each, as by a restart.

    The same values again change nothing. Raises Conflict when a value that is in use would go, or its
    generation is not the expected one (0: it must not exist).
    """
    await authorise.in_project(platform, actor, Verb.SECRET, project, kind=KIND, name=name)
    naming.require_name(name, "name")
    async with platform.database.begin() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        found = await store.get(tx, project, name)
        before = found[0] if found else None
        require_generation("the secret", before, expected)
        old = {} if found is None else _opened(platform, found[1], project, name, change)
        values = {} if change.replace else {k: v for k, v in old.items() if k not in change.remove}
        values |= change.values
        _require_sound(values)
        touched = frozenset(k for k in old.keys() | values.keys() if old.get(k) != values.get(k))
        if before is not None and not touched:
            return _shown(before, await _users(tx, project))
        using = await _using(tx, project, name)
        _require_kept(name, values, using)
        after = await _stored(platform, tx, before, Secret(
            project=project, name=name, keys=tuple(sorted(values)),
            binary=tuple(sorted(key for key, value in values.items() if not rules.is_text(value))),
            created_at=before.created_at if before else platform.at(),
            created_by=before.created_by if before else actor.name,
            changed_at=platform.at(), changed_by=actor.name,
        ), values)  # fmt: skip
        renewed = await _renewed(platform, tx, actor, after, [each for each, _ in using], touched)
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=name,
            reason="Changed" if before else "Created", message=_told(after, touched, renewed),
        )  # fmt: skip
    for each in renewed:
        platform.hint(kinds.DEPLOYMENT, str(each.key))
    return replace(after, used_by=tuple(sorted(each.key.service for each, _ in using)))


async def delete(platform: Platform, actor: Actor, project: str, name: str, *, force: bool = False) -> None:
    """Forget a secret; raises Conflict while a deployment names it, unless it is forced.

    Replicas that run keep what they were given; new ones of such a deployment cannot start any more.
    """
    await authorise.in_project(platform, actor, Verb.SECRET, project, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        if await store.get(tx, project, name) is None:
            raise missing.secret(project, name)
        using = (await _users(tx, project)).get(name, ())
        if using and not force:
            raise Conflict(
                f"secret {name!r} is used by deployment {', '.join(using[:5])}; change or undeploy it first, "
                "or say --force (force=true) if it may fail to start"
            )
        await store.delete(tx, project, name)
        message = f"though used by {', '.join(using[:20])}" if using else ""
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=name, reason="Deleted", message=message
        )


def _opened(platform: Platform, sealed: bytes, project: str, name: str, change: Change) -> dict[str, bytes]:
    """The values until now; those that cannot be read count as none when all are replaced."""
    try:
        return sealing.unseal(platform.master_key, sealed, place=f"{project}/{name}")
    except Conflict:
        if change.replace:
            return {}
        raise


def _require_sound(values: Mapping[str, bytes]) -> None:
    wrong = rules.value_errors(values, "values")
    if not values:
        wrong.append(FieldError("values", "a secret needs at least one; give one, or delete the secret"))
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)


def _require_kept(name: str, values: Mapping[str, bytes], using: Collection[_User]) -> None:
    """Nothing when every value that variables name is still there, and is text.

    Also those of a revision that still runs, or that is gone back to: its next replica reads them.
    """
    for deployment, specs in using:
        named = dict.fromkeys(each for spec in specs for each in rules.references(spec.env))
        for each in (one for one in named if one.name == name):
            where = f"{each.key!r} is used by deployment {deployment.key.service} ({each.path})"
            if each.key not in values:
                raise Conflict(f"{where}; change or undeploy it first")
            if not rules.is_text(values[each.key]):
                message = f"{where}, and no variable can carry the new value; mount the secret there instead"
                raise Invalid(f"values.{each.key}: {message}", errors=[FieldError("values", message)])


async def _stored(
    platform: Platform, tx: Transaction, before: Secret | None, after: Secret, values: Mapping[str, bytes]
) -> Secret:
    place = f"{after.project}/{after.name}"
    sealed = sealing.seal(platform.master_key, values, place=place, token=platform.random_token())
    if before is None:
        await store.insert(tx, after, sealed)
        return after
    return await store.update(tx, after, sealed, expected=before.generation)


async def _renewed(
    platform: Platform,
    tx: Transaction,
    actor: Actor,
    secret: Secret,
    using: Collection[Deployment],
    keys: frozenset[str],
) -> tuple[Deployment, ...]:
    """Those that now get replicas with the new values; one that is offline gets them when it starts."""
    found = []
    for each in using:
        current = await revisions.get(tx, each.key, each.revision)
        # What is being stopped may still be when it is started again, and would then be found as it was.
        idle = each.spec.replicas == 0 and not each.status.replicas
        if each.deleting or current is None or idle:
            continue
        if rules.reads(current.spec, secret.name, keys):
            reason = f"secret {secret.name} changed"
            found.append(await operations.renew(platform, tx, actor, each, current, reason=reason))
    return tuple(found)


def _told(after: Secret, touched: frozenset[str], renewed: tuple[Deployment, ...]) -> str:
    """What is recorded of a change: the names of keys, and never a value."""
    gone = touched - frozenset(after.keys)
    said = [f"set {', '.join(sorted(touched - gone))}"] if touched - gone else []
    said += [f"removed {', '.join(sorted(gone))}"] if gone else []
    if renewed:
        said.append(f"new revisions of {', '.join(each.key.service for each in renewed)}")
    return "; ".join(said)[:1000]


async def _users(tx: Snapshot, project: str) -> dict[str, tuple[str, ...]]:
    """Which services name each secret."""
    found: dict[str, tuple[str, ...]] = {}
    for deployment, specs in await _specs(tx, project):
        for name in frozenset(name for spec in specs for name in rules.names(spec)):
            found[name] = (*found.get(name, ()), deployment.key.service)
    return found


async def _using(tx: Snapshot, project: str, name: str) -> tuple[_User, ...]:
    """The deployments that name the secret, as they are wanted or as they still run."""
    every = await _specs(tx, project)
    return tuple(each for each in every if any(name in rules.names(spec) for spec in each[1]))


async def _specs(tx: Snapshot, project: str) -> tuple[_User, ...]:
    """Every deployment of a project, with what it is wanted to be, and what it runs or may run again."""
    every = await division.present(tx, project)
    numbers = frozenset(number for each in every for number in _kept(each))
    known = await revisions.numbered(tx, project, numbers)
    before = {each.key: [known.get((each.key, number)) for number in _kept(each)] for each in every}
    return tuple(
        (each, (each.spec, *(found.spec for found in before[each.key] if found is not None)))
        for each in every
    )


def _kept(deployment: Deployment) -> tuple[int, ...]:
    """Numbers of the revisions that a deployment has, or may go back to."""
    return tuple({deployment.revision, deployment.status.good_revision} - {0})


def _shown(secret: Secret, users: Mapping[str, tuple[str, ...]]) -> Secret:
    return replace(secret, used_by=tuple(sorted(users.get(secret.name, ()))))
