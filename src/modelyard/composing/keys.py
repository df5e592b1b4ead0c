"""The platform's keys in a cluster: a Secret holds them, so that every pod of the platform has the same."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from modelyard.backends.kubernetes import forms, kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.control import installation
from modelyard.domain.errors import NotFound

NAME = "modelyard-keys"


async def bring(cluster: Cluster, namespace: str, home: Path) -> None:
    """Give the data directory the keys of the Secret; without one, make it of those that there are.

    Of two control planes that start at once, one makes the Secret, and the other takes it.
    """
    try:
        found = await cluster.get(kinds.SECRET, NAME, namespace=namespace)
    except NotFound:
        installation.master_key(home)
        try:
            found = await cluster.create(secret(namespace, installation.keys(home)))
        except Exists:
            found = await cluster.get(kinds.SECRET, NAME, namespace=namespace)
    installation.keep_keys(home, plain(found.get("data") or {}))


async def keep(cluster: Cluster, namespace: str, home: Path) -> None:
    """Make the Secret have the data directory's keys, as soon as the administrator's token is known."""
    await cluster.apply(secret(namespace, installation.keys(home)))


def secret(namespace: str, keys: Mapping[str, str], *, name: str = NAME) -> kinds.Manifest:
    """A Secret of the platform's own namespace with these texts."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "type": "Opaque",
        "data": {name: forms.coded(text) for name, text in keys.items()},
    }


def plain(data: Mapping[str, str]) -> dict[str, str]:
    """Texts of a Secret as they were."""
    return {name: base64.b64decode(text).decode() for name, text in data.items()}
