"""Parts of the package that need an extra which may not be installed."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.domain.errors import Invalid


def installed(module: str, extra: str) -> Any:
    """A module of ours. Raises Invalid that names the missing library and the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Invalid(f"`{error.name}` is not installed; pip install 'modelyard[{extra}]'") from None
