"""Secrets of a project: written here, and never read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query

from modelyard.api.answers import Items, page
from modelyard.api.request import ActorDep, ExpectedDep, PagingDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import project_secrets
from modelyard.control.project_secrets import Change
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.secret import Secret

router = APIRouter(prefix="/projects/{project}/secrets", tags=["secrets"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretValuesGiven:
    """Values to keep; they are in no answer."""

    __pydantic_config__: ClassVar[Any] = {**wire.STRICT, "hide_input_in_errors": True}

    values: dict[str, str] = field(default_factory=dict, repr=False)
    """Texts by key."""
    encoded: dict[str, str] = field(default_factory=dict, repr=False)
    """Bytes by key, in Base64."""
    remove: tuple[str, ...] = ()
    """Keys to forget."""


@router.get("", openapi_extra=states(Verb.READ))
async def list_secrets(
    platform: PlatformDep, actor: ActorDep, project: str, paging: PagingDep
) -> Items[Secret]:
    """All secrets with their keys, who changed them and who uses them; never with values."""
    found = await project_secrets.list(platform, actor, project, limit=paging.limit, after=paging.after)
    return page(found)


@router.get("/{secret}", openapi_extra=states(Verb.READ))
async def get_secret(platform: PlatformDep, actor: ActorDep, project: str, secret: str) -> Secret:
    """One secret with its keys; never with values."""
    return await project_secrets.get(platform, actor, project, secret)


@router.put("/{secret}", openapi_extra=states(Verb.SECRET))
async def replace_secret(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    secret: str,
    body: SecretValuesGiven,
    expected: ExpectedDep,
) -> Secret:
    """Create a secret, or replace all its values. What reads them gets a new revision."""
    if body.remove:
        message = "is for PATCH; what replaces all values forgets every key that it does not have"
        raise Invalid(f"remove: {message}", errors=[FieldError("remove", message)])
    change = Change(values=_values(body), replace=True)
    return await project_secrets.set(platform, actor, project, secret, change, expected=expected)


@router.patch("/{secret}", openapi_extra=states(Verb.SECRET))
async def change_secret(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    secret: str,
    body: SecretValuesGiven,
    expected: ExpectedDep,
) -> Secret:
    """Create a secret, or change some of its values. What reads them gets a new revision."""
    change = Change(values=_values(body), remove=frozenset(body.remove))
    return await project_secrets.set(platform, actor, project, secret, change, expected=expected)


@router.delete("/{secret}", status_code=204, openapi_extra=states(Verb.SECRET))
async def delete_secret(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    secret: str,
    force: Annotated[bool, Query(description="Also while a deployment uses it")] = False,
) -> None:
    """Forget a secret; refused while a deployment uses it."""
    await project_secrets.delete(platform, actor, project, secret, force=force)


def _values(body: SecretValuesGiven) -> Mapping[str, bytes]:
    """Texts and bytes together; raises Invalid, which tells nothing of them."""
    wrong = [FieldError(f"{path}.{key}"[:300], message) for path, key, message in _wrong(body)]
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)
    texts = {key: text.encode() for key, text in body.values.items()}
    return texts | {key: base64.b64decode(text) for key, text in body.encoded.items()}


def _wrong(body: SecretValuesGiven) -> list[tuple[str, str, str]]:
    found = []
    for key, text in body.values.items():
        if any("\ud800" <= character <= "\udfff" for character in text):
            found.append(("values", key, "is not valid Unicode; send bytes in `encoded`"))
    for key in sorted({*body.remove} & (body.values.keys() | body.encoded.keys())):
        found.append(("remove", key, "is given a value as well; say one of both"))
    for key, text in body.encoded.items():
        if key in body.values:
            found.append(("encoded", key, "is given twice; give it here or in `values`"))
        elif not _is_base64(text):
            found.append(("encoded", key, "is not Base64; encode the bytes with the usual alphabet"))
    return found


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
