"""Parameters as gRPC carries them, and as the rest of the protocol knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.oip.errors import Rejected


def parameters_of(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The values of a map of InferParameter; raises Rejected for one without a value."""
    values: dict[str, Any] = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise Rejected(f"{path}.{name}", "expected a string, number or boolean, got nothing")
        values[name] = getattr(parameter, kind)
    return values
