"""Informers: what a kind's objects look like now, without asking again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from modelyard.backends.kubernetes.client.cluster import Cluster, Event, Selection
from modelyard.backends.kubernetes.client.refusals import Gone
from modelyard.backends.kubernetes.kinds import Kind, Manifest, place
from modelyard.backends.kubernetes.known import Known
from modelyard.domain.errors import BackendError, Forbidden, Invalid, ModelyardError, Unavailable

log = logging.getLogger(__name__)

_STREAMS_LISTS = (1, 34)
"""Since this version of Kubernetes a watch may begin with everything there is."""
_SHORT_SECONDS = 1.0
"""A watch that ends sooner is begun anew after a pause only."""
_MOST_BRIEF = 2
"""So often in a row a watch may break that soon before it counts as none."""
_MOST_SILENT = 2
"""So many watches in a row may end without a word, not even a bookmark, before everything is read anew."""
_MOST_REFUSED_AS_OLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient an informer is."""

    watch_seconds: tuple[int, int] = (240, 480)
    """A watch is begun anew after a time by chance between these, so that not all do it at once."""
    idle_seconds: float = 90.0
    """Without any event or bookmark, after which the connection counts as dead."""
    initial_seconds: float = 60.0
    """For everything that there is to come by a watch, before it is listed instead."""
    first_pause: float = 0.2
    longest_pause: float = 30.0


class Informer:
    """Keeps the objects of a kind as the cluster has them; never gives up.

    `changed(namespace, name)` is called for every object that came, changed or went, and only notes it.
    While the cluster does not answer, the last state is kept and `stale_since` says since when it is old.
    """

    def __init__(  # noqa: PLR0913 - what to follow, and how
        self,
        cluster: Cluster,
        kind: Kind,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        changed: Callable[[str, str], None] = lambda namespace, name: None,
        pace: Pace | None = None,
    ) -> None:
        self._cluster = cluster
        self._wanted = Selection(
            kind=kind, namespace=namespace, labels=labels, fields=fields, metadata_only=metadata_only
        )
        self._changed = changed
        self._pace = pace or Pace()
        self._known = Known(metadata_only=metadata_only)
        self._synced = asyncio.Event()
        self._streams_lists: bool | None = None
        self._heard = asyncio.get_running_loop().time()
        self._stale = True
        self._listed = False
        self._refused_as_old = 0
        self._failures = 0
        """Sessions in a row that failed, or ended at once."""
        self._began_well = False
        """Whether the watch of this session was begun."""
        self._silent = 0
        """Watches in a row that told nothing."""
        self.trouble = ""
        """Why it is stale; empty while all is well."""

    def items(self, namespace: str = "") -> tuple[Manifest, ...]:
        """What there is, as of the last news; callers must not change it."""
        return tuple(each for (where, _), each in self._known.objects.items() if namespace in ("", where))

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object as of the last news."""
        return self._known.objects.get((namespace, name))

    def put(self, value: Manifest) -> None:
        """What the API answered to a write of ours: seen and told at once, and its event is no news then."""
        if self._known.learn(value):
            self._changed(*place(value))

    @property
    def synced(self) -> bool:
        """Whether everything was read once."""
        return self._synced.is_set()

    @property
    def stale_since(self) -> float | None:
        """Since when (loop time) nothing is heard of the cluster; None while it is followed."""
        return self._heard if self._stale else None

    @property
    def stale_seconds(self) -> float:
        """For how long nothing is heard of the cluster; 0 while it is followed."""
        return asyncio.get_running_loop().time() - self._heard if self._stale else 0.0

    async def until_synced(self) -> None:
        """Return when everything was read once."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        where = f" in {self._wanted.namespace}" if self._wanted.namespace else ""
        self._cluster.observer.cluster_follows(
            self._wanted.kind.qualified + where, lambda: self.stale_seconds
        )
        now = asyncio.get_running_loop().time
        while True:
            began, self._began_well = now(), False
            error = await self._session()
            is_brief = now() - began <= _SHORT_SECONDS
            # Whoever is between cuts what is silent for long: nothing is lost when it is opened again.
            goes_on = self._began_well and (error is None or isinstance(error, Unavailable))
            if not is_brief and (goes_on or error is None):
                self._failures = 0 if goes_on else self._failures
                await asyncio.sleep(self._asked(error))
                continue
            is_gone = error is None or isinstance(error, Gone)
            if error is not None and not is_gone and not (goes_on and self._failures < _MOST_BRIEF):
                self._failed(error)
            await asyncio.sleep(self._pause(error))
            self._failures = min(self._failures + 1, 20)

    async def _session(self) -> ModelyardError | None:
        """One list or one watch; None when it ended as watches do."""
        try:
            if self._listed:
                await self._follow(initial=False)
            elif await self._can_stream():
                await self._follow(initial=True)
            else:
                listing = await self._cluster.listing(self._wanted)
                self._replace(listing.items, listing.resource_version)
        except Gone as error:
            self._listed = False  # what is known stays until everything was read anew
            return error
        except ModelyardError as error:
            return error
        except Exception as error:
            log.exception("following %s failed", self._wanted.kind.qualified)
            return BackendError(f"following the cluster failed: {error!r}")
        return None

    async def _can_stream(self) -> bool:
        if self._streams_lists is None:
            self._streams_lists = await self._cluster.version() >= _STREAMS_LISTS
        return self._streams_lists

    async def _follow(self, *, initial: bool) -> None:
        low, high = self._pace.watch_seconds
        watch = self._cluster.watching(
            self._wanted,
            version="" if initial else self._known.version,
            seconds=low + int(self._cluster.dice() * (high - low)),
            initial=initial,
            idle=self._pace.idle_seconds,
        )
        try:
            async with watch as events:
                if initial:
                    await self._read_all(events)
                self._well()
                self._began_well = True
                await self._take_all(events)
        except (Invalid, Forbidden):
            if not initial:
                raise
            self._streams_lists = (
                False  # an API server, or somebody before it, that does not like such watches
            )
        except Unavailable as error:
            if initial and "RequestWatchProgress" in error.message:
                self._streams_lists = False
            raise

    async def _take_all(self, events: AsyncIterator[Event]) -> None:
        """What happens, until the watch ends; one that says nothing again and again may be deaf.

        It is for ever when the cluster was put back to where it was before what is known.
        """
        self._silent += 1
        try:
            async for event in events:
                self._silent = 0
                self._take(event)
        finally:
            self._heard = asyncio.get_running_loop().time()
            if self._silent >= _MOST_SILENT:
                self._listed, self._silent = False, 0

    async def _read_all(self, events: AsyncIterator[Event]) -> None:
        """What a watch begins with, until it says that this was everything."""
        found: list[Manifest] = []
        try:
            async with asyncio.timeout(self._pace.initial_seconds):
                async for event in events:
                    if event.ends_initial:
                        self._replace(found, event.version)
                        return
                    if event.type != "BOOKMARK":
                        found.append(event.object)
        except TimeoutError:
            self._streams_lists = False
            raise Unavailable("a watch did not say that it had told everything; next it is listed") from None
        raise Unavailable("a watch ended before it had told everything")

    def _replace(self, items: Iterable[Manifest], version: str) -> None:
        """Everything was read: tell what is news, also of what is gone."""
        if self._known.is_behind(version) and self._refused_as_old < _MOST_REFUSED_AS_OLD:
            self._refused_as_old += 1
            raise Unavailable(
                f"the API server told what was at {version}, and {self._known.version} is known"
            )
        self._refused_as_old = 0
        news = self._known.reset(items, version)
        self._listed = True
        self._well()
        self._synced.set()
        for namespace, name in sorted(news):
            self._changed(namespace, name)

    def _take(self, event: Event) -> None:
        self._heard = asyncio.get_running_loop().time()
        match event.type:
            case "ADDED" | "MODIFIED":
                news = self._known.put(event.object)
            case "DELETED":
                news = self._known.remove(event.object)
            case _:
                self._known.saw(event.version)
                news = False
        if news:
            self._changed(*place(event.object))

    def _well(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        if self._stale and self.trouble:
            log.info("%s are followed again", self._wanted.kind.qualified)
        self._stale, self.trouble = False, ""

    def _failed(self, error: ModelyardError) -> None:
        if not self._stale or error.message != self.trouble:
            log.warning("%s are not followed: %s", self._wanted.kind.qualified, error.message)
        self._stale, self.trouble = True, error.message

    def _pause(self, error: ModelyardError | None) -> float:
        """Full jitter, and not before the server wishes."""
        own = min(self._pace.longest_pause, self._pace.first_pause * 2.0**self._failures)
        return self._asked(error) + self._cluster.dice() * own

    def _asked(self, error: ModelyardError | None) -> float:
        """How long the server wishes not to be asked."""
        if isinstance(error, Unavailable) and error.retry_after_seconds > 1:
            return min(error.retry_after_seconds, self._pace.longest_pause)
        return 0.0
