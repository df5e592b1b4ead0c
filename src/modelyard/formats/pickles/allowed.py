"""Whether a name may be imported while a model loads."""

from __future__ import annotations

import re

from modelyard.formats.pickles.names import EXACT, NEVER_IN_PATH, WITHIN
from modelyard.formats.pickles.values import Global

CYTHON = "__pyx_unpickle_"
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXACT = {module: frozenset(names.split()) for module, names in EXACT.items()}
_WITHIN = {package: frozenset(names.split()) for package, names in WITHIN.items()}


def allowed(item: Global) -> bool:
    """Say whether the allow-list knows this name in this module; names with dots are never known."""
    if not IDENTIFIER.fullmatch(item.name):
        return False
    if item.name in _EXACT.get(item.module, ()):
        return True
    parts = item.module.split(".")
    if NEVER_IN_PATH.intersection(parts) or not all(IDENTIFIER.fullmatch(part) for part in parts):
        return False
    names = _WITHIN.get(".".join(parts[:2]), frozenset())
    return item.name in names or item.name.removeprefix(CYTHON) in names


def refused(items: tuple[Global, ...]) -> tuple[str, ...]:
    """Name what the allow-list does not know, in order, as `module.name`."""
    return tuple(str(item) for item in items if not allowed(item))
