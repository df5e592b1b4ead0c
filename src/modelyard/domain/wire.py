"""How domain types appear on the wire.

What writes an answer is made when the first one is given: making all of them costs much of each start. The
strings below the fields become descriptions in the API's reference.
"""

from __future__ import annotations

STRICT: dict[str, object] = {"extra": "forbid"}
"""For what users write: an unknown field is an error, so that a typing mistake is never silent."""

OPEN: dict[str, object] = {"extra": "ignore", "defer_build": True}
"""For what the platform writes: an older client ignores fields it does not know."""
