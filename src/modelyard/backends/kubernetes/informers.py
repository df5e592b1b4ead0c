"""Informers: what a kind's objects look like now, without asking again and again."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Kind, Manifest


class Informer:
    """Keeps the objects of a kind as the cluster has them; never gives up.

    `changed(namespace, name)` is called for every object that came, changed or went, and does nothing but note it.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        *,
        namespace: str = "",
        labels: str = "",
        metadata_only: bool = False,
        changed: Callable[[str, str], None] = lambda namespace, name: None,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        raise NotImplementedError

    def items(self, namespace: str = "") -> tuple[Manifest, ...]:
        """What there is, as of the last news; callers must not change it."""
        raise NotImplementedError

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object as of the last news."""
        raise NotImplementedError

    @property
    def synced(self) -> bool:
        """Whether everything was read once."""
        raise NotImplementedError

    @property
    def stale_since(self) -> float | None:
        """Since when (loop time) nothing is heard of the cluster; None while it is followed."""
        raise NotImplementedError

    async def until_synced(self) -> None:
        """Return when everything was read once."""
        raise NotImplementedError
