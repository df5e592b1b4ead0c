"""Budgets for what costs a client little and us more: control frames, and requests taken back."""

from __future__ import annotations


class Budget:
    """So much at once, and so much more each second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one; False when nothing is left."""
        self._left -= 1
        if self._left >= 0:
            return True
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 0

    def earn(self, count: float) -> None:
        """Give some back, because something useful was done."""
        self._left = min(self._burst, self._left + count)
