"""Who leads: one holder of a Lease writes to the cluster, and asks before each batch whether it still may."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.backends.kubernetes.client.cluster import Cluster


class Leadership:
    """One candidate for a Lease.

    `clock` is monotonic time in seconds, `now` the wall clock for what others read.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, *, clock: Callable[[], float]
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Try for it, keep it, lose it, try again, until cancelled; then give it back."""
        raise NotImplementedError

    @property
    def leads(self) -> bool:
        """Whether we hold it now for sure: renewed less than its time ago by our own clock."""
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """How often it changed hands, for what we write (the fencing number)."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise Conflict unless we lead; ask before each batch of writes."""
        raise NotImplementedError
