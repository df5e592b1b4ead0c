"""What only the events of a pod say: why one that has its place does not get on, above all its mounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.backends.kubernetes import reasons
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import EVENT, Manifest
from modelyard.backends.kubernetes.observation import is_held_up
from modelyard.domain.deployment import Failure
from modelyard.domain.errors import ModelyardError

_PATIENCE_SECONDS = 10.0
"""A pod may be without a running container for so long before anybody asks why."""
_KEPT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the events of a pod came to, and when."""

    failure: Failure | None
    at: float


class Complaints:
    """Asks for the events of pods that do not get on, each at most once in ten seconds."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._heard: dict[str, _Heard] = {}

    async def of(self, pod: Manifest) -> Failure | None:
        """Why a pod does not get on; None for one that does, and while nobody says."""
        uid, now = str(pod["metadata"]["uid"]), self._clock()
        if not is_held_up(pod, now=now, patience=_PATIENCE_SECONDS):
            self._heard.pop(uid, None)
            return None
        known = self._heard.get(uid)
        if known is None or not 0 <= now - known.at < _KEPT_SECONDS:
            known = _Heard(await self._asked(pod, known.failure if known else None), now)
            self._heard[uid] = known
        return known.failure

    async def _asked(self, pod: Manifest, before: Failure | None) -> Failure | None:
        metadata = pod["metadata"]
        selector = f"involvedObject.uid={metadata['uid']}"
        try:
            found = await self._cluster.list(EVENT, namespace=metadata["namespace"], fields=selector)
        except ModelyardError:
            return before  # what is known of the pod itself is told all the same
        return reasons.told(found.items)
