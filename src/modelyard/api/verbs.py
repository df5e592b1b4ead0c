"""How a route states what it lets an actor do; a test walks all routes and fails for one that does not."""

from __future__ import annotations

from typing import Any

from modelyard.domain.access import Verb

KEY = "x-modelyard-verb"


def states(verb: Verb) -> dict[str, Any]:
    """The `openapi_extra` of a route that needs `verb`."""
    return {KEY: verb.value}
