"""Keyword arguments to specs, with errors that name the argument."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from modelyard.domain import health, mounts, texts
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import FieldError, Invalid

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
_RESOURCES = ("cpu", "memory", "gpu")
_ADDRESS = ("host", "own_port", "second_port")
_TEXTS: Mapping[str, Callable[[str, str], Any]] = {
    "env": texts.split_variables,
    "config_files": texts.split_files,
    "health": health.parse,
    "mounts": mounts.parse,
}


def build(kind: type[T], given: Mapping[str, Any]) -> T:
    """A spec from keyword arguments. Raises Invalid naming each argument that is unknown or wrong."""
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        known = ", ".join(each.name for each in dataclasses.fields(kind))  # type: ignore[arg-type]
        wrong = [
            FieldError(
                ".".join(str(part) for part in line["loc"]),
                _message(line["msg"], line["type"], known if len(line["loc"]) == 1 else ""),
            )
            for line in error.errors()
        ]
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong) from None


def deployment_spec(ref: str, given: Mapping[str, Any]) -> DeploymentSpec:
    """A deployment's spec; what its resources and its address have may be given beside the other fields.

    A strategy may be its kind alone, `canary`.
    """
    resources = {name: str(given[name]) for name in _RESOURCES if given.get(name) is not None}
    address = {name: given[name] for name in _ADDRESS if given.get(name) is not None}
    parts = {name: part for name, part in (("resources", resources), ("address", address)) if part}
    apart = (*_RESOURCES, *_ADDRESS)
    rest = {name: value for name, value in given.items() if name not in apart and value is not None}
    if isinstance(rest.get("strategy"), str):
        rest["strategy"] = {"kind": rest["strategy"]}
    return spec({"model": ref, **parts, **rest})


def spec(given: Mapping[str, Any]) -> DeploymentSpec:
    """A deployment's spec, in which some fields may be one text as people write them by hand.

    `env` as lines `KEY=VALUE`, `config_files` as blocks after `---name`, `health` as `8080:/path` or
    `shell:COMMAND`, and `mounts` as `SOURCE(KIND):/path`. Raises Invalid naming each field that is wrong.
    """
    plain = dict(given)
    listed = plain.get("mounts")
    if isinstance(listed, list) and listed and all(isinstance(each, str) for each in listed):
        plain["mounts"] = "\n".join(listed)
    for name, read in _TEXTS.items():
        if isinstance(plain.get(name), str):
            plain[name] = read(plain[name], f"spec.{name}")
    return build(DeploymentSpec, plain)


def build_enum(kind: type[E], value: str, path: str) -> E:
    """A member of an enumeration. Raises Invalid that lists the members."""
    try:
        return kind(value)
    except ValueError:
        message = f"{value!r} is none of {', '.join(kind)}"
        raise Invalid(f"{path}: {message}", errors=[FieldError(path, message)]) from None


def _message(message: str, kind: str, known: str) -> str:
    unknown = kind in ("unexpected_keyword_argument", "extra_forbidden")
    listed = f"there are {known}" if known else "the API's reference lists what this part has"
    return f"no such argument; {listed}" if unknown else message
