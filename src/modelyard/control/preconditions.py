"""What a change may ask of the state that it changes: the generation that its author has read."""

from __future__ import annotations

from typing import Protocol

from modelyard.domain.errors import Conflict


class Numbered(Protocol):
    """What counts its changes."""

    @property
    def generation(self) -> int:
        """1 when it is made, and one more with each change."""


def require_generation(what: str, before: Numbered | None, expected: int | None) -> None:
    """Raises Conflict unless the generation is the expected one, where one is (0: it must not exist).

    `what` begins the sentence: `the deployment`. See RFC 9110 §13.1.1 for why, `If-Match` for how.
    """
    generation = before.generation if before else 0
    if expected is not None and expected != generation:
        state = f"is at generation {generation}" if before else "does not exist"
        raise Conflict(f"{what} {state}, not at {expected}; read it again", generation=generation)
