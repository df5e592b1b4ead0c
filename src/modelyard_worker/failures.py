"""Failure: the one error that leaves this package; a stable reason and a message with the remedy."""

from __future__ import annotations

from typing import Dict


class Failure(Exception):
    """What went wrong, in words for the person who can mend it.

    `reason` is one of the platform's stable CamelCase reasons, such as `MissingPackage`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def as_json(self) -> Dict[str, str]:
        """The failure as it travels: `{"reason": …, "message": …}`."""
        return {"reason": self.reason, "message": self.message}


class Contradiction(Failure):
    """A prediction that is not what the signature declares; at inspection that is the signature's fault."""

    def __init__(self, message: str) -> None:
        super().__init__("PredictionFailed", message)
