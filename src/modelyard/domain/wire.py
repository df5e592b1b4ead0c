"""How domain types appear on the wire: strict fields, docstrings as descriptions."""

from __future__ import annotations

STRICT: dict[str, object] = {"use_attribute_docstrings": True, "extra": "forbid"}
"""For what users write: an unknown field is an error, so that a typing mistake is never silent."""

OPEN: dict[str, object] = {"use_attribute_docstrings": True, "extra": "ignore"}
"""For what the platform writes: an older client ignores fields it does not know."""
