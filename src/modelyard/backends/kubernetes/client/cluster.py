"""One cluster: everything that is asked of its API server."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

import httpx2

from modelyard.backends.base import Shell, Terminal
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import calls, discovery, shells, watching
from modelyard.backends.kubernetes.client.calls import Call, Merge, Patch, Selection
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.client.observing import Observer, Unobserved
from modelyard.backends.kubernetes.client.queue import Limits
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.backends.kubernetes.client.transport import Surroundings, Transport
from modelyard.backends.kubernetes.client.watching import Event
from modelyard.backends.kubernetes.kinds import Kind, Manifest
from modelyard.domain.errors import NotFound, Unavailable

__all__ = ["Cluster", "Event", "Listing", "Selection"]

_PAGE = 500
_IDLE_SECONDS = 90.0
_WATCH_SECONDS = 300
_QUIET_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a kind, and the version as of which they are."""

    items: tuple[Manifest, ...]
    resource_version: str


class Cluster:
    """Talks to one API server; all calls share one queue, so that the server is never flooded.

    Errors are those of `client.refusals`. What nobody knows the outcome of is tried again where that is safe.
    """

    def __init__(
        self,
        access: Access,
        *,
        clock: Callable[[], float],
        dice: Callable[[], float] = random.random,
        observer: Observer | None = None,
        limits: Limits | None = None,
        wire: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.access = access
        self.observer = observer or Unobserved()
        self.dice = dice
        surroundings = Surroundings(
            clock=clock, dice=dice, observer=self.observer, limits=limits or Limits(), wire=wire
        )
        self._transport = Transport(access, surroundings)

    def guard(self, check: Callable[[], None]) -> None:
        """From now on let `check` refuse whatever writes, but for leases and what is only tried."""
        self._transport.guard = check

    async def get(self, kind: Kind, name: str, *, namespace: str = "", subresource: str = "") -> Manifest:
        """One object; raises NotFound."""
        return await self._ask(calls.get(kind, name, namespace=namespace, subresource=subresource))

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = "") -> Listing:
        """All objects that fit, however many pages they are."""
        return await self.listing(Selection(kind=kind, namespace=namespace, labels=labels, fields=fields))

    async def listing(self, wanted: Selection) -> Listing:
        """All objects of a selection; raises Gone when its pages took too long."""
        items: list[Manifest] = []
        following = ""
        while True:
            page = await self._ask(calls.page(wanted, size=_PAGE, following=following))
            metadata = page.get("metadata") or {}
            # Items of a list do not say what they are, or that they are metadata of something.
            said = {"apiVersion": wanted.kind.api_version, "kind": wanted.kind.name}
            items.extend(item | said for item in page.get("items") or ())
            following = str(metadata.get("continue") or "")
            if not following:
                return Listing(tuple(items), str(metadata.get("resourceVersion") or ""))

    async def apply(
        self,
        manifest: Manifest,
        *,
        manager: str = "modelyard",
        force: bool = True,
        dry_run: bool = False,
        subresource: str = "",
    ) -> Manifest:
        """Make these fields so, and own them (server-side apply, strict about unknown fields).

        For the subresource `scale` the manifest is that of the object, with `spec.replicas`.
        """
        return await self._ask(
            calls.apply(manifest, manager=manager, force=force, dry_run=dry_run, subresource=subresource)
        )

    async def create(
        self, manifest: Manifest, *, manager: str = "modelyard", dry_run: bool = False
    ) -> Manifest:
        """Make a new object; raises Exists. One that an unanswered try of ours made is a success."""
        try:
            return await self._ask(calls.create(manifest, manager=manager, dry_run=dry_run))
        except Exists as error:
            if not error.ours:
                raise
        namespace, name = kinds.place(manifest)
        return await self.get(kinds.of(manifest), name, namespace=namespace)

    async def replace(
        self, manifest: Manifest, *, manager: str = "modelyard", subresource: str = ""
    ) -> Manifest:
        """Put this in the place of an object; with a `resourceVersion` in it, of that only (Conflict)."""
        return await self._ask(calls.update(manifest, manager=manager, subresource=subresource))

    async def patch(  # noqa: PLR0913 - as the API has it
        self,
        kind: Kind,
        name: str,
        patch: Patch,
        *,
        namespace: str = "",
        merge: Merge = "merge",
        subresource: str = "",
        resource_version: str = "",
        manager: str = "modelyard",
    ) -> Manifest:
        """Change some fields; with a version, only of that version (Conflict)."""
        return await self._ask(
            calls.patch(
                kind,
                name,
                patch,
                namespace=namespace,
                merge=merge,
                subresource=subresource,
                resource_version=resource_version,
                manager=manager,
            )
        )

    async def delete(  # noqa: PLR0913 - as the API has it
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; none at all is a success, one of another uid or version is a Conflict."""
        call = calls.delete(
            kind,
            name,
            namespace=namespace,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
            grace_seconds=grace_seconds,
        )
        with contextlib.suppress(NotFound):
            await self._ask(call)

    async def delete_all(
        self, kind: Kind, *, namespace: str = "", labels: str, propagation: str = "Background"
    ) -> None:
        """Delete all objects with these labels in a namespace, in one call."""
        wanted = Selection(kind=kind, namespace=namespace, labels=labels)
        await self._ask(calls.delete_all(wanted, propagation=propagation))

    async def watch(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[Event]:
        """What happens after a version, until the server ends it; raises Gone, Unavailable.

        This is the bare thing: an `Informer` goes on for ever.
        """
        wanted = Selection(kind=kind, namespace=namespace, labels=labels, fields=fields)
        async with self.watching(wanted, version=resource_version) as events:
            async for event in events:
                yield event

    @contextlib.asynccontextmanager
    async def watching(
        self,
        wanted: Selection,
        *,
        version: str = "",
        seconds: int = _WATCH_SECONDS,
        initial: bool = False,
        idle: float = _IDLE_SECONDS,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """A watch that the server has begun; with `initial`, everything that there is comes first."""
        call = calls.watch(wanted, version=version, seconds=seconds, initial=initial)
        async with self._transport.open(call, idle=idle) as answer:
            events = watching.events(answer.aiter_bytes())
            yield _named(events, wanted.kind) if wanted.metadata_only else events

    async def logs(  # noqa: PLR0913 - as the API has it
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        previous: bool = False,
    ) -> AsyncIterator[str]:
        """The lines a container wrote, each behind its time stamp and a space; `since` is such a time stamp.

        This is the bare thing: `client.logs` goes on after a break, and merges those of several pods.
        """
        query = {"timestamps": "true", "container": container, "sinceTime": since}
        query |= {"follow": "true" if follow else "", "previous": "true" if previous else ""}
        query |= {"tailLines": "" if tail is None else str(tail)}
        path = kinds.POD.path(namespace=namespace, name=pod, subresource="log")
        given = {key: value for key, value in query.items() if value}
        call = Call(verb="logs", kind=kinds.POD.qualified, path=path, query=given, accept="*/*")
        # A program that has nothing to say is no broken connection; after so long nobody can tell any more.
        idle = _QUIET_SECONDS if follow else _IDLE_SECONDS
        # A kubelet's answer begins with the first line, also its headers.
        begins = idle if follow else None
        async with self._transport.open(call, idle=idle, begins_within=begins) as answer:
            async for line in watching.lines(answer.aiter_bytes()):
                yield line.decode(errors="replace").rstrip("\r")

    async def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str = "",
        terminal: Terminal | None = None,
        stdin: bool = True,
    ) -> Shell:
        """Run a command in a pod's container; on a terminal of this size, or with its outputs apart."""
        call = shells.call(
            namespace, pod, command, container=container, tty=terminal is not None, stdin=stdin
        )
        return await shells.opened(self._transport, call, terminal)

    async def version(self) -> tuple[int, int]:
        """Such as `(1, 37)`."""
        return discovery.version(await self._ask(calls.plain("version", "/version")))

    async def resources(self) -> frozenset[str]:
        """What is served, as `group/version/plural` (`v1/pods` in the core group)."""
        known: set[str] = set()
        for root, places in (("/api", ("/api/v1",)), ("/apis", ())):
            said = await self._ask(calls.plain("discovery", root, accept=discovery.AGGREGATED))
            at_once = discovery.aggregated(said)
            known |= at_once or frozenset()
            for place in () if at_once is not None else places or discovery.versions(said):
                with contextlib.suppress(NotFound):
                    known |= discovery.plurals(await self._ask(calls.plain("discovery", place)))
        return frozenset(known)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._transport.close()

    async def _ask(self, call: Call) -> Manifest:
        answer = await self._transport.ask(call)
        if not isinstance(answer, dict):
            raise Unavailable("the cluster's API server answered with something that is no object")
        return answer


async def _named(events: AsyncIterator[Event], kind: Kind) -> AsyncIterator[Event]:
    """Metadata alone says that it is metadata; whose it is knows who asked."""
    async for event in events:
        said = {"apiVersion": kind.api_version, "kind": kind.name}
        yield replace(event, object=event.object | said)
