"""What only the events of a pod say: why it does not get on, and what the kubelet's probes found of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.backends.kubernetes import probed, reasons
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
    state: tuple[object, ...]
    """How its server was then: another state has other reasons."""


class Complaints:
    """Asks for the events of pods that do not get on, each at most once in ten seconds."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._heard: dict[str, _Heard] = {}

    async def of(self, pod: Manifest, *, kept: bool = False) -> Failure | None:
        """Why a pod does not get on, or its kept server was started again; None while nobody says."""
        uid, now = str(pod["metadata"]["uid"]), self._clock()
        if not is_held_up(pod, now=now, patience=_PATIENCE_SECONDS, kept=kept):
            self._heard.pop(uid, None)
            return None
        state, known = _state(pod), self._heard.get(uid)
        if known is not None and known.state != state:
            known = None
        if known is None or not (state[-1] or 0 <= now - known.at < _KEPT_SECONDS):
            failure = await self._asked(pod, known.failure if known else None, kept)
            known = self._heard[uid] = _Heard(failure, now, state)
        return known.failure

    async def _asked(self, pod: Manifest, before: Failure | None, kept: bool) -> Failure | None:
        metadata = pod["metadata"]
        selector = f"involvedObject.uid={metadata['uid']}"
        try:
            found = await self._cluster.list(EVENT, namespace=metadata["namespace"], fields=selector)
        except ModelyardError:
            return before  # what is known of the pod itself is told all the same
        said = reasons.server(pod).get("state", {})
        probes = kept and ("running" in said or reasons.end_of(reasons.server(pod)))
        return probed.told(found.items, pod) if probes else reasons.told(found.items)


def _state(pod: Manifest) -> tuple[object, ...]:
    """What an answer depends on; the last says whether it is well, so that nothing more will be said."""
    said = reasons.server(pod)
    return (said.get("restartCount", 0), bool(said.get("started")), said.get("ready") is True)
