"""Keeps what was applied as it was applied: puts back what others change, and removes what is of no use."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gzip
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes import drift, forms, inflating, kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.client.refusals import Terminating
from modelyard.backends.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    POD_DISRUPTION_BUDGET,
    RESOURCE_CLAIM_TEMPLATE,
    SECRET,
    SERVICE,
    Kind,
    Manifest,
    place,
)
from modelyard.backends.kubernetes.render.scaler import autoscaler_name, scaled_by
from modelyard.backends.kubernetes.view import View
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound

log = logging.getLogger(__name__)

CORRECTED = "DriftCorrected"
"""Reason of the event that says that somebody else's change was put back."""
MISSING = "ObjectMissing"
"""Reason of the event that says that something is gone whose contents stood in nothing but itself."""
_MOST_BYTES = 100_000
"""Of the annotation; Kubernetes takes 256 KiB of all of an object's."""
_MOST_INFLATED = 32 << 20
_YOUNG_SECONDS = 120.0
"""What was made less than this ago may belong to what is just being applied."""

_KINDS = (SECRET, CONFIG_MAP, SERVICE, POD_DISRUPTION_BUDGET, HORIZONTAL_POD_AUTOSCALER, DEPLOYMENT)
"""What belongs to revisions."""

_MOST_TOLD = 1000
Note = Callable[[Key, str, str], None]
"""Told of a deployment, a reason and a message that are worth an event."""
Name = tuple[Kind, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied for a revision, as its Deployment remembers it."""

    manifests: tuple[Manifest, ...]
    """Without the contents of secrets, which stand in nothing but themselves."""

    @property
    def names(self) -> frozenset[Name]:
        """What belongs to the revision."""
        return frozenset(_name(each) for each in self.manifests)


def remembered(objects: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The same objects, with an annotation of the Deployment, the last of them, that remembers them all.

    Large files are left out; what is not remembered is not put back but by the next start of a replica.
    """
    *beside, deployment = objects
    everything = [_without_contents(each) for each in objects]
    text = _encoded(everything)
    if len(text) > _MOST_BYTES:
        text = _encoded([_bare(each) if each["kind"] == CONFIG_MAP.name else each for each in everything])
    return (*beside, _annotated(deployment, text))


def applied(deployment: Manifest) -> Applied:
    """What a Deployment remembers; nothing when somebody spoilt it."""
    return _decoded(_text(deployment))


@functools.lru_cache(maxsize=2048)
def _decoded(text: str) -> Applied:
    """Read once, as it is looked at whenever its replicas are."""
    try:
        found = inflating.document(text, most_bytes=_MOST_INFLATED)
    except ValueError:
        return Applied(())
    known = [each for each in found if _is_ours(each)] if isinstance(found, list) else []
    return Applied(tuple(_annotated(e, text) if e["kind"] == DEPLOYMENT.name else e for e in known))


def _is_ours(manifest: object) -> bool:
    """Whether it can be an object of a revision's."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(metadata, dict) or not metadata.get("name"):
        return False
    said = (manifest.get("apiVersion"), manifest.get("kind"))
    return said in {(kind.api_version, kind.name) for kind in (*_KINDS, RESOURCE_CLAIM_TEMPLATE)}


class Upkeep:
    """Looks whether objects are as they were applied, when they change and once in a while."""

    def __init__(
        self,
        cluster: Cluster,
        view: View,
        *,
        turn: Callable[[Key], asyncio.Lock],
        note: Note,
        clock: Callable[[], float],
        claims: Callable[[], bool] = lambda: False,
    ) -> None:
        """`claims` says whether the cluster serves claims of devices."""
        self._cluster = cluster
        self._turn = turn
        self._view = view
        self._note = note
        self._clock = clock
        self._claims = claims
        self._good: dict[Name, str] = {}
        """How each looked when it was as it should be."""
        self._broken: set[Name] = set()
        """Deployments of revisions that lack what only their next start can make again."""
        self._told: dict[str, str] = {}
        """What was told of pods lately, by uid."""

    def tell(self, key: Key, pod: Manifest, reason: str, message: str) -> None:
        """Something that happened to a pod becomes an event, once."""
        uid = str(pod["metadata"]["uid"])
        if self._told.get(uid) != reason:
            self._told[uid] = reason
            self._note(key, reason, message)
        while len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]

    def wrote(self, answer: Manifest) -> None:
        """An object is as it should be, since we have just written it."""
        self._good[_name(answer)] = _stamp(answer)

    def is_broken(self, deployment: Manifest) -> bool:
        """Whether a revision lacks something that is made again when all of it is applied again."""
        return _name(deployment) in self._broken

    def mended(self, deployment: Manifest) -> None:
        """All of the revision was applied again."""
        self._broken.discard(_name(deployment))

    async def check(self, key: Key, deployment: Manifest) -> None:
        """Put back what has changed since it was last looked at; asks only about what has.

        Whoever calls it has the deployment's turn.
        """
        for each in applied(deployment).manifests:
            kind, namespace, name = _name(each)
            if kind not in (DEPLOYMENT, SERVICE):
                continue
            heard = self._view.get(kind, namespace, name)
            good = self._good.get((kind, namespace, name))
            if heard is None:
                await self._mend(key, each, None)
            elif good is not None and good != _stamp(heard):
                await self._mend(key, each, await self._read(kind, namespace, name))

    async def sweep(self) -> None:
        """Look at everything at once; a few lists, however much there is."""
        labels = f"{names.MANAGED_BY}={names.MANAGER},{names.REVISION}"
        live: dict[Name, Manifest] = {}
        before = dict(self._good)
        served = (RESOURCE_CLAIM_TEMPLATE,) if self._claims() else ()
        for kind in (*served, *_KINDS):
            bare = kind in (SECRET, CONFIG_MAP)  # their metadata say who owns which field
            listing = await self._cluster.listing(Selection(kind=kind, labels=labels, metadata_only=bare))
            ours = filter(self._view.is_ours, listing.items)
            live |= {_name(each): _bare(each) if bare else each for each in ours}
        wanted: set[Name] = set()
        unsure: set[tuple[Key, int]] = set()
        self._broken &= live.keys()
        for each in [live[name] for name in live if name[0] == DEPLOYMENT]:
            found, whose = applied(each), _whose(each)
            if whose is None or "deletionTimestamp" in each["metadata"]:
                continue
            wanted |= found.names | _autoscaler(each)
            if not found.manifests or not _is_rolled_out(each):
                unsure.add(whose)
            if not found.manifests:
                self._broken.add(_name(each))
            if self._differs(found.manifests, live):
                await _unless_refused(self._look_closely(whose[0], each), each)
        await self._prune([live[n] for n in live if n[0] != DEPLOYMENT and n not in wanted], unsure)
        await self._prune_tasks()
        # What was written since then is not in the lists, and good all the same.
        self._good = {n: good for n, good in self._good.items() if n in live or before.get(n) != good}

    def _differs(self, manifests: Iterable[Manifest], live: Mapping[Name, Manifest]) -> bool:
        """Whether anything is not as it was applied, as far as the lists tell."""
        differs = False
        for each in manifests:
            there = live.get(_name(each))
            if there is None or drift.lost(each, there):
                differs = True
            else:
                self.wrote(there)
        return differs

    async def _look_closely(self, key: Key, listed: Manifest) -> None:
        """Put a revision right, unless it was changed on purpose since it was listed."""
        namespace, name = place(listed)
        async with self._turn(key):
            now = self._view.get(DEPLOYMENT, namespace, name)
            if now is None or "deletionTimestamp" in now["metadata"] or _text(now) != _text(listed):
                return
            for each in applied(now).manifests:
                kind, namespace, name = _name(each)
                found = await self._read(kind, namespace, name)
                if not (kind == SECRET or (kind == CONFIG_MAP and "data" not in each)):
                    await self._mend(key, each, found)
                elif found is None:
                    self._miss(key, now, f"{kind.name} {name}")

    def _miss(self, key: Key, deployment: Manifest, what: str) -> None:
        """Remember what cannot be made again from here, until a replica of the revision is started."""
        if not self.is_broken(deployment):
            self._broken.add(_name(deployment))
            self._note(
                key, MISSING, f"somebody had deleted {what}; the next start of a replica makes it again"
            )

    async def _mend(self, key: Key, wanted: Manifest, live: Manifest | None) -> None:
        kind, _, name = _name(wanted)
        if live is None and kind == DEPLOYMENT:
            return  # the list of wanted replicas went with it: they are started anew
        losses = drift.lost(wanted, live) if live is not None else ()
        if live is not None and not losses:
            self.wrote(live)
            return
        written = await self._cluster.apply(wanted)
        self.wrote(written)
        if kind in (DEPLOYMENT, SERVICE):
            self._view.wrote(kind, written)
        what = f"{kind.name} {name}"
        said = drift.told(what, losses) if losses else f"somebody had deleted {what}; it is made again"
        self._note(key, CORRECTED, said)

    async def _prune(self, useless: Iterable[Manifest], unsure: set[tuple[Key, int]]) -> None:
        """Remove what belongs to no revision that runs, as a death in the middle may leave it."""
        for each in useless:
            whose = _whose(each)
            if whose is None or whose in unsure or self._clock() - _made(each) < _YOUNG_SECONDS:
                continue
            async with self._turn(whose[0]):
                if _name(each) in self._wanted_now(whose[0]):
                    continue  # its revision was started again since it was listed
                await _unless_refused(self._delete(each), each)

    async def _delete(self, each: Manifest) -> None:
        """Remove an object, and no other of its name that was made meanwhile."""
        kind, namespace, name = _name(each)
        with contextlib.suppress(Conflict):
            await self._cluster.delete(kind, name, namespace=namespace, uid=each["metadata"]["uid"])

    def _wanted_now(self, key: Key) -> set[Name]:
        """What the revisions of a deployment want, as far as was heard and as we have written."""
        wanted: set[Name] = set()
        for each in self._view.of(DEPLOYMENT, key):
            wanted |= applied(each).names | _autoscaler(each)
        return wanted

    async def _prune_tasks(self) -> None:
        """Remove what nobody asks for: Jobs that still wait, and what tasks were to read without a Job."""
        labels = f"{names.MANAGED_BY}={names.MANAGER},{names.TASK}"
        kinds_left = (SECRET, *((RESOURCE_CLAIM_TEMPLATE,) if self._claims() else ()))
        wanted = [Selection(kind=kind, labels=labels, metadata_only=True) for kind in kinds_left]
        for each in [item for one in wanted for item in (await self._cluster.listing(one)).items]:
            old = self._clock() - _made(each) > _YOUNG_SECONDS
            if self._view.is_ours(each) and not each["metadata"].get("ownerReferences") and old:
                await _unless_refused(self._delete(each), each)
        for each in (await self._cluster.listing(Selection(kind=JOB, labels=labels))).items:
            if self._view.is_ours(each) and is_forgotten(each, now=self._clock()):
                await _unless_refused(self._delete(each), each)

    async def _read(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._cluster.get(kind, name, namespace=namespace)
        except NotFound:
            return None


async def _unless_refused(work: Awaitable[None], about: Manifest) -> None:
    """Do something for one object; where that is refused, it is said, and the others have their turns."""
    try:
        await work
    except (Forbidden, Invalid, NotFound, Terminating) as error:
        kind, namespace, name = _name(about)
        log.warning("%s %s/%s cannot be looked after: %s", kind.name, namespace, name, error.message)


def is_forgotten(job: Manifest, *, now: float) -> bool:
    """Whether a task's Job waits in a queue for nobody, as the control plane that asked for it is gone."""
    until = (job["metadata"].get("annotations") or {}).get(names.WAITS_UNTIL, "")
    return bool(job["spec"].get("suspend")) and until.isdecimal() and int(until) < now


def _text(deployment: Manifest) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(names.APPLIED, ""))


def _encoded(manifests: Sequence[Manifest]) -> str:
    text = json.dumps(manifests, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _annotated(deployment: Manifest, text: str) -> Manifest:
    metadata = deployment["metadata"]
    annotations = {**(metadata.get("annotations") or {}), names.APPLIED: text}
    return {**deployment, "metadata": {**metadata, "annotations": annotations}}


def _without_contents(manifest: Manifest) -> Manifest:
    return _bare(manifest) if manifest["kind"] == SECRET.name else manifest


def _bare(manifest: Manifest) -> Manifest:
    return {name: manifest[name] for name in ("apiVersion", "kind", "metadata")}


def _name(manifest: Manifest) -> Name:
    return (kinds.of(manifest), *place(manifest))


def _stamp(live: Manifest) -> str:
    """Differs when somebody changed what is wanted of an object; where that shows, not for its status."""
    metadata = live["metadata"]
    said: Any = metadata.get("generation") or metadata.get("resourceVersion")
    return f"{metadata.get('uid')} {said} {json.dumps(metadata.get('labels'), sort_keys=True)}"


def _autoscaler(deployment: Manifest) -> set[Name]:
    """The HPA that is to work on a Deployment, ours or KEDA's."""
    kind = scaled_by(deployment)
    namespace, name = place(deployment)
    return {(HORIZONTAL_POD_AUTOSCALER, namespace, autoscaler_name(kind, name))} if kind else set()


def _whose(manifest: Manifest) -> tuple[Key, int] | None:
    labels = manifest["metadata"].get("labels") or {}
    key = names.key_of(labels)
    return None if key is None else (key, names.revision_of(labels))


def _is_rolled_out(deployment: Manifest) -> bool:
    """Whether no pod is left that was made from an earlier template."""
    status, metadata = deployment.get("status") or {}, deployment["metadata"]
    return bool(
        status.get("observedGeneration") == metadata.get("generation")
        and status.get("updatedReplicas", 0) == status.get("replicas", 0)
    )


def _made(manifest: Manifest) -> float:
    return forms.seconds(manifest["metadata"].get("creationTimestamp"))
