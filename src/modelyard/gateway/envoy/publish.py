"""Changing what a running Envoy does, so that no request ever meets half a change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.domain.endpoint import Route, Target
from modelyard.domain.errors import BackendError, Unavailable
from modelyard.domain.limits import Limits
from modelyard.gateway.envoy import files, render
from modelyard.gateway.envoy.admin import Admin
from modelyard.gateway.envoy.files import Json
from modelyard.gateway.envoy.layout import Layout

_CONFIRM_SECONDS = 5.0
_POLL_SECONDS = 0.005
_ANY = Target(replica="", address="")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What Envoy should work by."""

    clusters: Json
    tables: Mapping[Path, Json]
    listeners: Json


class Documents:
    """What routes look like to Envoy; the tables are rendered anew only when more than replicas changed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._routes: tuple[Route, ...] | None = None
        self._tables: dict[Path, Json] = {}

    def of(self, routes: Sequence[Route], listeners: Json) -> Wanted:
        """Clusters and tables of these routes, beside the listeners."""
        place = self._layout
        without_replicas = tuple(map(_without_replicas, render.unique(routes)))
        if without_replicas != self._routes:
            self._tables = {
                place.routes: render.table(without_replicas, place),
                place.ports: render.ports_table(without_replicas),
            }
            if place.door.second_port:
                self._tables[place.second] = render.second_table(without_replicas, place)
            self._routes = without_replicas
        return Wanted(render.clusters(routes, place), self._tables, listeners)


def _without_replicas(route: Route) -> Route:
    """The route as the table sees it: which replicas a share has says nothing there, but that it has any."""
    one = len(route.shares) == 1
    bare = Limits()
    shares = tuple(replace(s, targets=(), weight=100 if one else s.weight, limits=bare) for s in route.shares)
    mirrors = tuple(
        replace(m, share=replace(m.share, targets=m.share.targets and (_ANY,), limits=bare))
        for m in route.mirrors
    )
    return replace(route, shares=shares, mirrors=mirrors)


def write(layout: Layout, wanted: Wanted) -> None:
    """Leave the documents on disk for an Envoy that does not run yet."""
    files.prepare(layout.directory)
    whole = {layout.clusters: wanted.clusters, **wanted.tables, layout.listeners: wanted.listeners}
    for path, document in whole.items():
        if files.version(path) != document["version_info"]:
            files.replace(path, document)


async def publish(layout: Layout, admin: Admin, wanted: Wanted) -> None:
    """Make a running Envoy work by these documents, and return when it does.

    New clusters come before the routes that name them, and these before the listeners that follow them; old
    clusters leave last, so that at every moment, and on disk too, each route has its cluster. Raises
    Unavailable when Envoy does not confirm, and BackendError when it refuses a document, which is taken back.
    """
    versions = await admin.versions()
    tables = {
        p: t for p, t in wanted.tables.items() if not _current(p, t, versions[p.stem] or files.version(p))
    }
    if tables or files.version(layout.listeners) != wanted.listeners["version_info"]:
        before, after = files.named(files.read(layout.clusters)), files.named(wanted.clusters)
        # A share that loses its last replica has them until no route sends it requests.
        emptied = {n for n, c in after.items() if n in before and not files.has_replicas(c)}
        both = before | {name: c for name, c in after.items() if name not in emptied}
        await step(admin, layout.clusters, render.document(wanted.clusters["type_url"], list(both.values())))
        for path, table in tables.items():
            await (step(admin, path, table) if versions[path.stem] else _unread(path, table))
        await open_doors(admin, layout.listeners, wanted.listeners)
    await step(admin, layout.clusters, wanted.clusters)


async def open_doors(admin: Admin, path: Path, listeners: Json) -> None:
    """Make these the listeners, and return when they accept connections; raises as `publish` does."""
    await step(admin, path, listeners)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CONFIRM_SECONDS
    while await admin.warming():
        if loop.time() > deadline:
            raise Unavailable(f"the gateway did not open its ports within {_CONFIRM_SECONDS:g} seconds")
        await asyncio.sleep(_POLL_SECONDS)


async def _unread(path: Path, table: Json) -> None:
    """Leave a table for a listener that is still to come, and reads it then."""
    files.replace(path, table)


async def step(admin: Admin, path: Path, document: Json) -> None:
    """Replace one document and return when Envoy works by it; raises as `publish` does."""
    version = (await admin.versions())[path.stem]
    if _current(path, document, version):
        return
    before, refused = files.read(path), await admin.rejections()
    files.replace(path, document)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CONFIRM_SECONDS
    while (await admin.versions())[path.stem] != document["version_info"]:
        if await admin.rejections() > refused:
            if before is not None:
                files.replace(path, before)
            raise BackendError(f"the gateway refused its {path.stem}; its log says why", retryable=False)
        if loop.time() > deadline:
            raise Unavailable(f"the gateway did not take its {path.stem} within {_CONFIRM_SECONDS:g} seconds")
        await asyncio.sleep(_POLL_SECONDS)


def _current(path: Path, document: Json, version: str) -> bool:
    return {version, files.version(path)} == {document["version_info"]}
