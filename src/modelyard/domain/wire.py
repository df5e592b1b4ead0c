"""How domain types appear on the wire: strict fields, docstrings as descriptions.

What reads and writes a type is made when it is first needed: making all of them costs a second of each start.
"""

from __future__ import annotations

STRICT: dict[str, object] = {"use_attribute_docstrings": True, "extra": "forbid"}
"""For what users write: an unknown field is an error, so that a typing mistake is never silent."""

OPEN: dict[str, object] = {"use_attribute_docstrings": True, "extra": "ignore", "defer_build": True}
"""For what the platform writes: an older client ignores fields it does not know."""
