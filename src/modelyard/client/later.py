"""A library that is imported when it is first used, so that a command which needs none of it starts soon."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """Stands in for a module and imports it when one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
