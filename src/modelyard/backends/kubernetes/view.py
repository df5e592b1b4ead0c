"""What the cluster has of ours, as far as we heard, and what we wrote ourselves a moment ago."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.informers import Informer
from modelyard.backends.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    NODE,
    POD,
    RESOURCE_SLICE,
    SERVICE,
    Kind,
    Manifest,
)
from modelyard.domain.deployment import Key
from modelyard.domain.errors import BackendError

_OURS = f"{names.MANAGED_BY}={names.MANAGER}"
_SYNC_SECONDS = 30.0
Place = tuple[str, str]


class View:
    """Follows Deployments, pods, anchors and nodes; reads cost the API server nothing.

    What this process wrote is seen at once: the newer of what was heard and what was answered counts.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        home: Callable[[str], str],
        changed: Callable[[Key], None] = lambda key: None,
        has_slices: bool = False,
    ) -> None:
        """`home` says where a project lives, `has_slices` whether the cluster serves slices of devices."""
        self._home = home
        self._changed = changed
        self._informers = {
            DEPLOYMENT: Informer(cluster, DEPLOYMENT, labels=_OURS, changed=self._noted(DEPLOYMENT)),
            POD: Informer(cluster, POD, labels=_OURS, changed=self._noted(POD)),
            CONFIG_MAP: Informer(
                cluster, CONFIG_MAP, labels=f"{_OURS},{names.ANCHOR}", changed=self._noted(CONFIG_MAP)
            ),
            SERVICE: Informer(
                cluster, SERVICE, labels=f"{_OURS},{names.REVISION}", changed=self._noted(SERVICE)
            ),
            HORIZONTAL_POD_AUTOSCALER: Informer(
                cluster,
                HORIZONTAL_POD_AUTOSCALER,
                labels=f"{_OURS},{names.REVISION}",
                changed=self._noted(HORIZONTAL_POD_AUTOSCALER),
            ),
            NODE: Informer(cluster, NODE),
        }
        # Nobody waits for it: what it tells, the scheduler knows better.
        self._slices = Informer(cluster, RESOURCE_SLICE) if has_slices else None
        self._removed: dict[Kind, dict[Place, str]] = defaultdict(dict)
        """Uids of what is gone although it was not heard of yet."""
        self._index: dict[Kind, dict[Key, set[Place]]] = defaultdict(lambda: defaultdict(set))
        self._owners: dict[Kind, dict[Place, Key]] = defaultdict(dict)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow, once, and wait until everything was read. Raises BackendError when it cannot."""
        if not self._tasks:
            more = () if self._slices is None else (self._slices,)
            followed = (*self._informers.values(), *more)
            self._tasks = [asyncio.create_task(each.run()) for each in followed]
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await asyncio.gather(*(each.until_synced() for each in self._informers.values()))
        except TimeoutError:
            why = next((each.trouble for each in self._informers.values() if each.trouble), "no answer")
            message = f"the cluster's API server cannot be read: {why}"
            raise BackendError(message, retryable=True, reason="ClusterUnreachable") from None

    @property
    def follows(self) -> bool:
        """Whether it was begun to follow."""
        return bool(self._tasks)

    @property
    def stale_since(self) -> float | None:
        """Since when (loop time) something is not heard of; None while all is followed."""
        known = [each.stale_since for each in self._informers.values()]
        return min((since for since in known if since is not None), default=None)

    @property
    def trouble(self) -> str:
        """Why something is not heard of; empty while all is followed."""
        return next((each.trouble for each in self._informers.values() if each.trouble), "")

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        heard = self._informers[kind].get(namespace, name)
        gone = self._removed[kind].get((namespace, name))
        return None if heard is not None and gone == heard["metadata"].get("uid") else heard

    def of(self, kind: Kind, key: Key) -> tuple[Manifest, ...]:
        """A deployment's objects of one kind, by name."""
        found = (self.get(kind, *place) for place in sorted(self._index[kind].get(key, ())))
        return tuple(each for each in found if each is not None)

    def nodes(self) -> tuple[Manifest, ...]:
        """The cluster's nodes."""
        return self._informers[NODE].items()

    def slices(self) -> tuple[Manifest, ...]:
        """The devices that drivers offer to claims, as far as they were heard of."""
        return () if self._slices is None else self._slices.items()

    def pods(self) -> tuple[Manifest, ...]:
        """Every pod of ours."""
        return self._informers[POD].items()

    def keys(self) -> frozenset[Key]:
        """Every deployment that something of is there."""
        known = (DEPLOYMENT, POD, CONFIG_MAP)
        return frozenset(key for kind in known for key in tuple(self._index[kind]) if self.of(kind, key))

    def is_ours(self, manifest: Manifest) -> bool:
        """Whether an object is of a project of this installation, and not of another one beside it."""
        return names.is_ours(manifest, self._home)

    def wrote(self, kind: Kind, manifest: Manifest) -> None:
        """An answer of the API server to a write of ours; one that comes late brings nothing back."""
        self._informers[kind].put(manifest)

    def removed(self, kind: Kind, manifest: Manifest) -> None:
        """A deletion of ours was answered, and nothing of the object is left."""
        place = (str(manifest["metadata"].get("namespace") or ""), str(manifest["metadata"]["name"]))
        if self._informers[kind].get(*place) is not None:
            self._removed[kind][place] = str(manifest["metadata"].get("uid") or "")

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _noted(self, kind: Kind) -> Callable[[str, str], None]:
        def noted(namespace: str, name: str) -> None:
            place = (namespace, name)
            heard = self._informers[kind].get(namespace, name)
            if heard is None or heard["metadata"].get("uid") != self._removed[kind].get(place):
                self._removed[kind].pop(place, None)
            if key := self._keep(kind, place, heard):
                self._changed(key)

        return noted

    def _keep(self, kind: Kind, place: Place, manifest: Manifest | None) -> Key | None:
        """Remember whose object it is, or that it is gone; whom that concerns."""
        known = self._owners[kind].get(place)
        key = None
        if manifest is not None and self.is_ours(manifest):
            key = names.key_of(manifest["metadata"]["labels"])
        if known is not None and known != key:
            self._index[kind][known].discard(place)
            del self._owners[kind][place]
            if not self._index[kind][known]:
                del self._index[kind][known]
        if key is not None:
            self._owners[kind][place] = key
            self._index[kind][key].add(place)
        return key or known
