"""The Helm chart, written from the same documents as the plain manifests."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from collections.abc import Iterator
from typing import Any

import yaml

from modelyard import __version__
from modelyard.installing import values
from modelyard.installing.rendering import documents
from modelyard.installing.templates import template
from modelyard.installing.tree import NAMESPACE, When
from modelyard.installing.values import Values

_CHART = {
    "apiVersion": "v2",
    "name": "modelyard",
    "description": "Turn a trained model into a dependable service",
    "type": "application",
    "version": __version__,
    "appVersion": __version__,
    "kubeVersion": ">=1.31.0-0",
}
_GENERATED = "# Written by tools/generate_chart.py from src/modelyard/installing; do not edit.\n"
_NOTES = """Modelyard starts in the namespace {{ .Release.Namespace }}. Once its pod is ready:

  kubectl -n {{ .Release.Namespace }} port-forward service/modelyard-door 8080:8080
  kubectl -n {{ .Release.Namespace }} exec deployment/modelyard -- modelyard login --link

The administrator's token, for the command line and the SDK:

  kubectl -n {{ .Release.Namespace }} get secret modelyard-keys \\
    -o jsonpath='{.data.admin-token}' | base64 -d
"""


def files() -> dict[str, str]:
    """The chart's files, by path."""
    defaults = values.plain(Values())
    found = {
        "Chart.yaml": _GENERATED + yaml.safe_dump(_CHART, sort_keys=False),
        "values.yaml": _GENERATED + "\n".join(_values()) + "\n",
        "values.schema.json": json.dumps(schema(), indent=1, sort_keys=True) + "\n",
        "templates/NOTES.txt": _NOTES,
    }
    for each in documents():
        if each.chart:
            tree = each.tree if each.condition is None else When(each.condition, each.tree)
            found[f"templates/{each.name}.yaml"] = _GENERATED + template(tree, defaults)
    return found


def schema() -> dict[str, Any]:
    """What values may be, as JSON Schema, which Helm checks before it renders."""
    described = values.schema()
    described["properties"].pop(NAMESPACE)
    described["properties"]["global"] = {"type": "object"}  # Helm gives it to every chart
    return described


def _values() -> Iterator[str]:
    """Every value with its default, below what it means."""
    default = Values()
    meanings = _docstrings(Values)
    for each in dataclasses.fields(Values):
        value = getattr(default, each.name)
        if each.name == NAMESPACE:
            continue
        if not dataclasses.is_dataclass(value):
            yield from _entry(each.name, value, meanings[each.name], "")
            continue
        yield f"# {(type(value).__doc__ or '').strip()}"
        yield f"{each.name}:"
        inner = _docstrings(type(value))
        for part in dataclasses.fields(value):
            yield from _entry(part.name, getattr(value, part.name), inner[part.name], "  ")


def _entry(name: str, value: Any, meaning: str, indent: str) -> Iterator[str]:
    yield f"{indent}# {meaning}"
    yield f"{indent}{name}: {json.dumps(value)}"


def _docstrings(described: type) -> dict[str, str]:
    """The sentence below each field of a class."""
    body = ast.parse(inspect.getsource(described)).body[0]
    found: dict[str, str] = {}
    name = ""
    for statement in getattr(body, "body", ()):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                found[name] = " ".join(text.split())
    return found
