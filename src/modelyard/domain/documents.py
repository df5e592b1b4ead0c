"""YAML as users hand it over: read as data, or refused in one line whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from modelyard.domain.errors import FieldError, Invalid


def read(text: str, path: str) -> list[Any]:
    """Every document of a text. Raises Invalid that names `path`, in one line."""
    try:
        found = list(yaml.safe_load_all(text))
        _require_finite(found, frozenset())
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
    except RecursionError:
        said = "it is nested too deeply, or within itself"
    else:
        return found
    raise Invalid(f"{path}: not YAML: {said}", errors=(FieldError(path, f"not YAML: {said}"),))


def one(text: str, path: str) -> Any:
    """The one document of a text, None for an empty one. Raises Invalid as `read` does, and for several."""
    found = read(text, path)
    if len(found) > 1:
        message = f"holds {len(found)} documents; write one"
        raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
    return found[0] if found else None


def _require_finite(value: Any, above: frozenset[int]) -> None:
    """Nothing holds itself; whoever walks through it later would never end."""
    if not isinstance(value, (Mapping, list)):
        return
    if id(value) in above:
        raise RecursionError
    inner: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
    for each in inner:
        _require_finite(each, above | {id(value)})
