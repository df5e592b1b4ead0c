"""What `deploy` should apply: options of the command line, or documents of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.cli import files
from modelyard.client import options
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.server import ServerKind


def wanted(
    ref: str, name: str, file: Path | None, given: dict[str, Any]
) -> Iterator[tuple[str, DeploymentSpec]]:
    """Services and their specs. Raises Invalid naming the option or the place in the file."""
    if file is None:
        without_model = (given.get("server") or {}).get("kind") == ServerKind.SERVING
        if not name or not (ref or without_model):
            missing = "--name" if ref or without_model else "REF"
            raise _invalid(missing, "deploy needs REF and --name, or -f FILE")
        yield name, options.deployment_spec(ref, given)
        return
    if ref or any(value is not None for value in given.values()):
        raise _invalid("--file", "a file says it all; give no REF and no other option with -f")
    for number, document in enumerate(files.parse_yaml(file)):
        yield _document(document, f"{file}[{number}]")


def _document(document: Any, where: str) -> tuple[str, DeploymentSpec]:
    if not isinstance(document, dict) or document.get("kind") != "Deployment":
        raise _invalid(f"{where}.kind", "must be `Deployment`, beside `metadata.name` and `spec`")
    name = (document.get("metadata") or {}).get("name")
    spec = document.get("spec")
    if not name or not isinstance(spec, dict):
        raise _invalid(f"{where}.{'spec' if name else 'metadata.name'}", "is missing")
    try:
        return str(name), options.spec(spec)
    except Invalid as error:
        raise Invalid(f"{where}: {error.message}", errors=error.errors) from None


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
