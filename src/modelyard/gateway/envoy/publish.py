"""Changing what a running Envoy does, so that no request ever meets half a change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from modelyard.domain.endpoint import Route
from modelyard.domain.errors import BackendError, Unavailable
from modelyard.gateway.envoy import files, render
from modelyard.gateway.envoy.admin import Admin
from modelyard.gateway.envoy.files import Json
from modelyard.gateway.envoy.layout import Layout

_CONFIRM_SECONDS = 5.0
_POLL_SECONDS = 0.005


def write(layout: Layout, routes: Sequence[Route]) -> None:
    """Leave the routes on disk for an Envoy that does not run yet."""
    files.prepare(layout.directory)
    for path, document in (
        (layout.clusters, render.clusters(routes, layout)),
        (layout.routes, render.table(routes, layout)),
    ):
        if files.read(path) != document:
            files.replace(path, document)


async def publish(layout: Layout, admin: Admin, routes: Sequence[Route]) -> None:
    """Make a running Envoy work by these routes, and return when it does.

    New clusters come before the routes that name them, and old ones leave after those that named
    them, so that at every moment, and on disk too, each route has its cluster. Raises Unavailable
    when Envoy does not confirm, and BackendError when it refuses a document, which is then taken back.
    """
    clusters, table = render.clusters(routes, layout), render.table(routes, layout)
    versions = await admin.versions()
    if _current(layout.routes, table, versions["routes"]):
        await _step(admin, layout.clusters, clusters)
        return
    staying = files.named(files.read(layout.clusters)) | files.named(clusters)
    await _step(admin, layout.clusters, render.document(clusters["type_url"], list(staying.values())))
    await _step(admin, layout.routes, table)
    await _step(admin, layout.clusters, clusters)


async def _step(admin: Admin, path: Path, document: Json) -> None:
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
    return version == document["version_info"] and files.read(path) == document
