"""The platform's keys in a cluster: a Secret holds them, so that every pod of the platform has the same."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.control import installation
from modelyard.domain.errors import NotFound

NAME = "modelyard-keys"
ROUTERS = "modelyard-router"
"""Secret with what the platform shows to routers."""


async def bring(cluster: Cluster, namespace: str, home: Path) -> None:
    """Give the data directory the keys of the Secret; without one, make it of those that there are.

    Of two control planes that start at once, one makes the Secret, and the other takes it.
    """
    try:
        found = await cluster.get(kinds.SECRET, NAME, namespace=namespace)
    except NotFound:
        installation.master_key(home)
        try:
            found = await cluster.create(_secret(namespace, installation.keys(home)))
        except Exists:
            found = await cluster.get(kinds.SECRET, NAME, namespace=namespace)
    installation.keep_keys(home, _plain(found.get("data") or {}))


async def keep(cluster: Cluster, namespace: str, home: Path) -> None:
    """Make the Secret have the data directory's keys, as soon as the administrator's token is known."""
    await cluster.apply(_secret(namespace, installation.keys(home)))


async def show(cluster: Cluster, namespace: str, token: str) -> None:
    """Have the routers know what the platform shows them: the Secret that they mount."""
    await cluster.apply(_secret(namespace, {"token": token}, name=ROUTERS))


def _secret(namespace: str, keys: Mapping[str, str], *, name: str = NAME) -> kinds.Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in keys.items()},
    }


def _plain(data: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64decode(text).decode() for name, text in data.items()}
