"""Secrets as deployments use them: what a spec may name, and the values for a replica that starts."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.control import sealing
from modelyard.control.platform import Platform
from modelyard.domain import secret as rules
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import BackendError, Conflict, FieldError, Invalid
from modelyard.domain.secret import Reference, Secret, SecretValues
from modelyard.store import Snapshot
from modelyard.store import secrets as store

_UNAVAILABLE = "SecretUnavailable"


async def require(tx: Snapshot, project: str, spec: DeploymentSpec) -> None:
    """Nothing when the values that the spec names are there and can be carried; else Invalid, by field."""
    wrong = rules.spec_errors(spec)
    references = rules.references(spec.env)
    known = await store.known(tx, project, frozenset(each.name for each in references))
    found = ((each.path, _refusal(each, known.get(each.name))) for each in references)
    wrong += [FieldError(path, message) for path, message in found if message]
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)


async def values(platform: Platform, project: str, spec: DeploymentSpec) -> Mapping[str, SecretValues]:
    """What a replica that starts now may read: secrets that it mounts whole, of others what it names.

    A mount that names no secret of the project is left to the backend. Raises BackendError when a value that
    a variable names is not there, or cannot be read.
    """
    names = rules.names(spec)
    if not names:
        return {}
    async with platform.database.read() as tx:
        found = {name: await store.get(tx, project, name) for name in sorted(names)}
    references, mounted = rules.references(spec.env), rules.mounted(spec)
    for each in references:
        there = found[each.name]
        if message := _refusal(each, there[0] if there else None):
            raise _unavailable(f"{each.path}: {message}")
    given = {}
    for name, there in found.items():
        if there is None:
            continue
        place = f"{project}/{name}"
        try:
            everything = sealing.unseal(platform.master_key, there[1], place=place)
        except Conflict as error:
            raise _unavailable(error.message) from error
        named = {each.key for each in references if each.name == name}
        kept = {key: value for key, value in everything.items() if name in mounted or key in named}
        given[name] = SecretValues(mark=sealing.mark(platform.master_key, kept, place=place), values=kept)
    return given


def _refusal(wanted: Reference, secret: Secret | None) -> str:
    """Why a variable cannot have the value; empty when it can."""
    if secret is None:
        return f"the project has no secret {wanted.name!r}; `modelyard secret list` shows all"
    if wanted.key not in secret.keys:
        return f"secret {wanted.name!r} has no key {wanted.key!r}; it has {', '.join(secret.keys)}"
    if wanted.key in secret.binary:
        return f"{wanted.key!r} of secret {wanted.name!r} holds what no variable can carry; mount the secret"
    return ""


def _unavailable(message: str) -> BackendError:
    return BackendError(message, retryable=False, reason=_UNAVAILABLE)
