"""One machine or a cluster: what the setting `backend.kind` chooses."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

from modelyard.api.measure import Measure
from modelyard.composing import local
from modelyard.composing.rooms import Given, World
from modelyard.domain.errors import Invalid


@contextlib.asynccontextmanager
async def world(given: Given, measure: Measure) -> AsyncIterator[World]:
    """What the platform works with. Raises Invalid when the cluster's extra is not installed."""
    if given.chosen.backend.kind == "local":
        async with local.world(given) as found:
            yield found
    else:
        async with _cluster().world(given, measure) as found:
            yield found


def _cluster() -> Any:
    """The module for clusters, which one machine neither needs nor waits for."""
    try:
        return importlib.import_module("modelyard.composing.cluster")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Invalid(
            f"backend.kind: kubernetes needs `{error.name}`, which is not installed; "
            "pip install 'modelyard[kubernetes]'"
        ) from None
