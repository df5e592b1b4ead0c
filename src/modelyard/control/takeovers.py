"""Carrying out what was decided about a host: the old service goes offline when the new one is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.control import authorise, kinds
from modelyard.control.deployments import KIND
from modelyard.control.platform import Platform
from modelyard.domain.deployment import Claim, Deployment, Key
from modelyard.domain.takeover import Settlement
from modelyard.store import Transaction, deployments, work


@dataclass(frozen=True, slots=True)
class Reason:
    """What the history says."""

    reason: str
    message: str


async def carry_out(platform: Platform, settlement: Settlement, seen: Sequence[Deployment]) -> None:
    """Take those offline that yield, and end the claims that lapse; what changed since `seen` waits.

    To be called when the gateway has confirmed that the host leads to its owner.
    """
    known = {deployment.key: deployment for deployment in seen}
    owner = settlement.owner
    async with platform.database.begin() as tx:
        current = await deployments.get(tx, owner)
        if current is None or current.claim != known[owner].claim or current.spec.replicas == 0:
            return
        for key in settlement.yields:
            said = f"{owner} is ready and has taken {settlement.host} over"
            ended = replace(known[key].claim, yielded_to=str(owner))
            await _end(platform, tx, known[key], ended, Reason("TakenOffline", said))
        for key, why in settlement.lapses:
            said = f"failed before it was ready ({why}), so that {owner} keeps {settlement.host}"
            ended = replace(known[key].claim, lapsed=said)
            await _end(platform, tx, known[key], ended, Reason("TakeoverFailed", said))
        if settlement.yields:
            others = " and ".join(str(key) for key in settlement.yields)
            await _note(platform, tx, owner, Reason("HostTaken", f"{settlement.host} from {others}"))
            # One that slept has no replica whose end would bring this about: nobody is to wait for it.
            await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    for key in (*settlement.yields, *(key for key, _ in settlement.lapses)):
        platform.hint(kinds.DEPLOYMENT, str(key))


async def _end(platform: Platform, tx: Transaction, seen: Deployment, ended: Claim, why: Reason) -> None:
    current = await deployments.get(tx, seen.key)
    if current is None or current.claim != seen.claim:
        return  # somebody started it anew meanwhile: the next look decides
    await deployments.keep(tx, replace(current, claim=ended))
    await _note(platform, tx, seen.key, why)
    await work.put(tx, kinds.DEPLOYMENT, str(seen.key), due_at=platform.clock())


async def _note(platform: Platform, tx: Transaction, key: Key, why: Reason) -> None:
    await authorise.note(
        platform, tx, None, project=key.project, kind=KIND, name=key.service, reason=why.reason,
        message=why.message,
    )  # fmt: skip
