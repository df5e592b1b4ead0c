"""The shells that a control plane holds open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from modelyard.backends.base import Shell
from modelyard.domain.access import Actor
from modelyard.domain.deployment import Key
from modelyard.domain.errors import NotFound

LONELY_SECONDS = 30.0
"""A shell whose output nobody reads for so long is ended."""


@dataclass(slots=True)
class Session:
    """One shell, and who may use it."""

    key: Key
    actor: str
    shell: Shell
    lonely: asyncio.TimerHandle | None = None


class Shells:
    """The shells that this control plane holds; they end with it."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, id: str, session: Session) -> None:
        """Keep a shell until somebody reads it."""
        self._sessions[id] = session
        self.leave(id)

    def get(self, id: str, key: Key, actor: Actor) -> Session:
        """The actor's own shell of that deployment; raises NotFound."""
        session = self._sessions.get(id)
        if session is None or session.key != key or session.actor != actor.name:
            raise NotFound(f"there is no open shell {id[:64]!a}; it may have ended, open another")
        return session

    def join(self, session: Session) -> None:
        """Somebody reads."""
        if session.lonely is not None:
            session.lonely.cancel()
            session.lonely = None

    def leave(self, id: str) -> None:
        """Nobody reads; if that stays so, the shell ends."""
        session = self._sessions.get(id)
        if session is not None:
            session.lonely = asyncio.get_running_loop().call_later(LONELY_SECONDS, self._end_later, id)

    async def end(self, id: str) -> None:
        """End a shell. Idempotent."""
        session = self._sessions.pop(id, None)
        if session is not None:
            self.join(session)
            await session.shell.close()

    async def close(self) -> None:
        """End all."""
        for id in tuple(self._sessions):
            await self.end(id)

    def _end_later(self, id: str) -> None:
        task = asyncio.create_task(self.end(id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
