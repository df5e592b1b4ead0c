"""The installation: what it is, whether it is well, and answers it has given already."""

from __future__ import annotations

from urllib.parse import urlsplit

from modelyard.control import authorise
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.views import System
from modelyard.store import events, idempotency

KIND = "system"


async def describe(platform: Platform, actor: Actor) -> System:
    """Version, address, backend, and how limits are enforced."""
    await authorise.require(platform, actor, Verb.READ, Resource(), kind=KIND)
    return System(
        version=platform.version,
        url=platform.public_url,
        https_url=_https_url(platform),
        domain=platform.domain,
        backend=platform.backend_name,
        enforcement=platform.backend.enforcement(),
        cluster=dict(platform.cluster()),
    )


def _https_url(platform: Platform) -> str:
    """The front door over TLS; empty where it speaks none."""
    if platform.public_url.startswith("https://"):
        return platform.public_url
    host, port = urlsplit(platform.public_url).hostname or "", platform.outside.https_port
    return f"https://{f'[{host}]' if ':' in host else host}:{port}" if port else ""


async def check(platform: Platform) -> None:
    """Nothing when the platform can take writes; raises Unavailable when its database cannot be read."""
    async with platform.database.read() as tx:
        await events.list(tx, limit=1)


async def answered(
    platform: Platform, actor: Actor, key: str, *, fingerprint: str
) -> idempotency.Remembered | None:
    """What this actor was answered under an idempotency key; raises Invalid for another request under it."""
    async with platform.database.read() as tx:
        found = await idempotency.find(tx, actor.name, key)
    if found is not None and found.fingerprint != fingerprint:
        message = "was used for another request already; use a new one"
        raise Invalid(f"Idempotency-Key: {message}", errors=[FieldError("Idempotency-Key", message)])
    return found


async def remember(platform: Platform, actor: Actor, key: str, remembered: idempotency.Remembered) -> None:
    """Keep an answer, so that the same request under the same key is not carried out twice."""
    async with platform.database.begin() as tx:
        await idempotency.save(tx, actor.name, key, remembered, now=platform.clock())
