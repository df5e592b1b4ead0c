"""Questions to the fronts in pods, as the platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from modelyard.domain.errors import BackendError

STATE = "/modelyard/state"
TOKEN = "x-modelyard-platform"  # noqa: S105 - the name of a header
_PATIENCE_SECONDS = 2.0
_KEPT_SECONDS = 1.0
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _Said:
    """What a front said, and when."""

    state: dict[str, Any]
    at: float


class Fronts:
    """Asks fronts by their address; a state is asked for at most once a second."""

    def __init__(self, token: str, *, clock: Callable[[], float]) -> None:
        self._token = token
        self._clock = clock
        self._client = httpx2.AsyncClient(timeout=_PATIENCE_SECONDS, trust_env=False)
        self._said: dict[str, _Said] = {}

    async def get(self, address: str, path: str, *, whom: str) -> bytes:
        """The body of the answer to a GET; raises BackendError when there is none, or when it is not 200."""
        try:
            answer = await self._client.get(f"http://{address}{path}", headers={TOKEN: self._token})
        except httpx2.HTTPError as error:
            message = f"replica {whom} does not answer {path}: {error!r}"
            raise BackendError(message, retryable=True) from error
        if answer.status_code != 200:
            raise BackendError(f"replica {whom} refuses {path}: {answer.status_code}", retryable=False)
        return answer.content

    async def state(self, uid: str, address: str) -> dict[str, Any]:
        """What the front of a pod says of itself; what it said last when it does not answer, or nothing."""
        known = self._said.get(uid)
        if known is not None and 0 <= self._clock() - known.at < _KEPT_SECONDS:
            return known.state
        state = known.state if known else {}
        try:
            found = json.loads(await self.get(address, STATE, whom=uid))
            state = found if isinstance(found, dict) else {}
        except (BackendError, ValueError):
            pass
        self._said[uid] = _Said(state, self._clock())
        return state

    def forget(self, alive: frozenset[str]) -> None:
        """Drop what pods said that are gone."""
        self._said = {uid: said for uid, said in self._said.items() if uid in alive}

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()
