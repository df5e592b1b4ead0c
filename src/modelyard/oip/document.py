"""Reading JSON that a client sent."""

from __future__ import annotations

from typing import Any

import orjson

from modelyard.oip.errors import Rejected, shown
from modelyard.oip.tensor import Raw


def load_json(body: Raw, *, expected: str) -> Any:
    """The JSON in a body; raises Rejected for an empty one, a wrong one and one that nests too deeply."""
    if not body:
        raise Rejected("", f"the body is empty; expected {expected}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected("", f"the body is not JSON: {error}; expected {expected}") from None


def parameters_at(document: dict[str, Any], path: str) -> dict[str, Any]:
    """The `parameters` of an object; raises Rejected unless every value is a string, number or boolean."""
    parameters = document.get("parameters")
    if not parameters:
        if parameters in (None, {}):
            return {}
        raise Rejected(path, f"expected an object, got {shown(parameters)}")
    if not isinstance(parameters, dict):
        raise Rejected(path, f"expected an object, got {shown(parameters)}")
    for key, value in parameters.items():
        if not isinstance(value, (str, int, float)):
            raise Rejected(f"{path}.{key}", f"expected a string, number or boolean, got {shown(value)}")
    return parameters


def name_at(document: dict[str, Any], path: str) -> str:
    """The `name` of an object; raises Rejected unless it is text."""
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise Rejected(f"{path}.name", f"expected a name, got {shown(name)}")
    return name


def flag_at(parameters: dict[str, Any], name: str, path: str) -> bool | None:
    """A boolean parameter, None when it is absent; raises Rejected for another type."""
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise Rejected(f"{path}.{name}", f"expected true or false, got {shown(value)}")
    return value


def timeout_at(parameters: dict[str, Any], path: str) -> float | None:
    """The `timeout` parameter (microseconds) in seconds; None when 0 or absent. Raises Rejected."""
    value = parameters.get("timeout")
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise Rejected(f"{path}.timeout", f"expected microseconds as a whole number, got {shown(value)}")
    return value / 1e6 or None
