"""Who leads: one holder of a Lease writes to the cluster, and every write asks whether it still may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.fencing import fenced
from modelyard.backends.kubernetes.kinds import LEASE, Manifest
from modelyard.domain.errors import Conflict, ModelyardError, NotFound

log = logging.getLogger(__name__)

ADDRESS = "modelyard.dev/address"
"""Annotation of a lease: where its holder answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a lease holds; a holder gives up well before others may take it."""

    lease_seconds: float = 15.0
    """So long after its last sign of life others leave a holder alone."""
    renew_seconds: float = 10.0
    """So long after its last renewal a holder counts itself as one."""
    retry_seconds: float = 2.0
    """Between two tries."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease as it was first seen so, by our own clock."""

    spec: Mapping[str, Any]
    version: str
    at: float
    address: str = ""
    """Where its holder answers."""


def look(before: Seen | None, lease: Manifest, now: float) -> Seen:
    """What is known after a look: only a lease that changed is a sign of life, whatever its times say."""
    version = str(lease["metadata"].get("resourceVersion") or "")
    if before is not None and before.version == version:
        return before
    address = str((lease["metadata"].get("annotations") or {}).get(ADDRESS) or "")
    return Seen(lease.get("spec") or {}, version, now, address)


def may_take(seen: Seen, identity: str, terms: Terms, now: float) -> bool:
    """Whether a candidate may write itself into a lease: it is its own, nobody's, or of somebody silent."""
    holder = str(seen.spec.get("holderIdentity") or "")
    if holder in ("", identity):
        return True
    promised = float(seen.spec.get("leaseDurationSeconds") or terms.lease_seconds)
    return now - seen.at > max(promised, terms.lease_seconds)


def claim(seen: Seen | None, identity: str, terms: Terms, wall: float) -> dict[str, Any]:
    """The lease as its holder writes it; a change of hands is counted."""
    spec = dict(seen.spec) if seen is not None else {}
    stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    mine = spec.get("holderIdentity") == identity
    return {
        **spec,
        "holderIdentity": identity,
        "leaseDurationSeconds": round(terms.lease_seconds),
        "acquireTime": spec.get("acquireTime") if mine and spec.get("acquireTime") else stamp,
        "renewTime": stamp,
        "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
    }


class Leadership:
    """One candidate for a Lease.

    `identity` is unique among all that ever run. `clock` is the wall clock, for what others read; decisions
    follow the loop's, which nobody sets back.
    """

    def __init__(  # noqa: PLR0913 - what, where, who, when
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], float],
        address: str = "",
        terms: Terms | None = None,
        changed: Callable[[bool], None] = lambda leads: None,
    ) -> None:
        self._cluster = cluster
        self._place = {"namespace": namespace, "name": name}
        self._identity = identity
        self._clock = clock
        self._address = address
        self._terms = terms or Terms()
        self._changed = changed
        self._seen: Seen | None = None
        self._renewed: float | None = None
        self._led = False
        self._taking = False
        self._epoch = 0

    @property
    def leads(self) -> bool:
        """Whether we hold it now for sure: renewed not long ago by our own clock."""
        return self._renewed is not None and self._now() - self._renewed < self._terms.renew_seconds

    @property
    def epoch(self) -> int:
        """How often it had changed hands when it came to us: larger than that of every holder before."""
        return self._epoch

    @property
    def holder(self) -> str:
        """Who holds it as far as we know; empty for nobody."""
        return str(self._seen.spec.get("holderIdentity") or "") if self._seen is not None else ""

    @property
    def elsewhere(self) -> str:
        """Where another holder answers; empty when we lead, or nobody does, or it did not say where."""
        if self._seen is None or self.leads or self.holder in ("", self._identity):
            return ""
        return self._seen.address

    def fence(self) -> AbstractContextManager[None]:
        """Whatever is begun in here writes to the cluster only while we lead; else it gets Conflict."""
        return fenced(self.check)

    def check(self) -> None:
        """Raise Conflict unless we lead."""
        if not self.leads:
            other = f"; {self.holder} does" if self.holder not in ("", self._identity) else ""
            raise Conflict(f"{self._identity} does not lead{other}, and writes nothing")

    async def run(self) -> None:
        """Try for it, keep it, lose it, try again, until cancelled; then give it back."""
        try:
            while True:
                await self._attempt()
                self._tell()
                await asyncio.sleep(self._terms.retry_seconds * (0.8 + 0.4 * self._cluster.dice()))
        finally:
            await self._release()

    async def _attempt(self) -> None:
        """One look, and one write if we may; neither may take longer than what is left."""
        began = self._now()
        self._taking = True  # so that one that ends meanwhile gives back what it may have got
        try:
            async with asyncio.timeout(self._patience()):
                if await self._take():
                    self._renewed = began
            self._taking = False
        except (ModelyardError, TimeoutError) as error:
            log.debug("the lease %s was not renewed: %s", self._place["name"], error)

    def _patience(self) -> float:
        if self._renewed is None or not self.leads:
            return self._terms.renew_seconds
        return max(self._terms.retry_seconds, self._renewed + self._terms.renew_seconds - self._now())

    async def _take(self) -> bool:
        """Whether it is ours now. A holder does not look first: its write fails when it is one no more."""
        if self.leads and self._seen is not None and await self._write(self._seen):
            return True
        try:
            lease = await self._cluster.get(LEASE, self._place["name"], namespace=self._place["namespace"])
        except NotFound:
            return await self._create()
        self._seen = look(self._seen, lease, self._now())
        if not may_take(self._seen, self._identity, self._terms, self._now()):
            self._renewed = None
            return False
        return await self._write(self._seen)

    async def _write(self, seen: Seen) -> bool:
        """Whether the lease was still as it was seen, and now is ours."""
        spec = claim(seen, self._identity, self._terms, self._clock())
        try:
            written = await self._cluster.replace(self._manifest(spec, seen.version))
        except (Conflict, NotFound):
            return False  # somebody was quicker; the next look says who
        self._note(written)
        return True

    async def _create(self) -> bool:
        spec = claim(None, self._identity, self._terms, self._clock())
        try:
            written = await self._cluster.create(self._manifest(spec))
        except Conflict:
            return False
        if (written.get("spec") or {}).get("holderIdentity") != self._identity:
            return False  # made by somebody else while ours had no answer
        self._note(written)
        return True

    def _manifest(self, spec: Mapping[str, Any], version: str = "") -> Manifest:
        metadata: dict[str, Any] = {**self._place, **({"resourceVersion": version} if version else {})}
        if self._address:
            metadata["annotations"] = {ADDRESS: self._address}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": dict(spec)}

    def _note(self, written: Manifest) -> None:
        self._seen = look(self._seen, written, self._now())
        self._epoch = int((written.get("spec") or {}).get("leaseTransitions") or 0)

    async def _release(self) -> None:
        """Let the next one have it at once; without an answer it waits until the lease is over."""
        if self._renewed is None and not self._taking:
            return
        self._renewed = None
        self._tell()
        try:
            async with asyncio.timeout(self._terms.retry_seconds):
                await self._give_back()
        except (ModelyardError, TimeoutError) as error:
            log.info("the lease %s could not be given back: %s", self._place["name"], error)

    async def _give_back(self) -> None:
        """Write that nobody holds it; a renewal whose answer was not waited for has made it newer."""
        spec, seen = {"holderIdentity": "", "leaseDurationSeconds": 1}, self._seen
        try:
            if seen is None or seen.spec.get("holderIdentity") != self._identity:
                raise Conflict("it may be ours since it was looked at")
            await self._cluster.replace(self._manifest({**seen.spec, **spec}, seen.version))
        except Conflict:
            lease = await self._cluster.get(LEASE, self._place["name"], namespace=self._place["namespace"])
            newer = look(seen, lease, self._now())
            if newer.spec.get("holderIdentity") == self._identity:
                await self._cluster.replace(self._manifest({**newer.spec, **spec}, newer.version))

    def _tell(self) -> None:
        if self.leads is not self._led:
            self._led = self.leads
            log.info("%s %s", self._identity, "leads" if self._led else "does not lead any more")
            self._changed(self._led)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
