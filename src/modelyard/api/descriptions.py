"""What the strings below fields say, for the API's description.

They are read from the sources when the description is asked for. Read while a type is made ready, as pydantic
would do it, they cost a second of every start.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.formats import python_source


def describe(schema: dict[str, Any]) -> None:
    """Add the fields' descriptions to the components of an OpenAPI document."""
    known = dict(_classes())
    for component in schema.get("components", {}).get("schemas", {}).values():
        name = str(component.get("title", "")).partition("[")[0]
        for field, text in known.get(name, {}).items():
            if field in component.get("properties", {}):
                component["properties"][field].setdefault("description", text)


def _classes() -> Iterator[tuple[str, dict[str, str]]]:
    """Every class of ours that goes over the wire, with what is said of its fields."""
    for module in [each for name, each in sys.modules.items() if name.startswith("modelyard.")]:
        wired = {
            name
            for name, kind in vars(module).items()
            if inspect.isclass(kind)
            and kind.__module__ == module.__name__
            and "__pydantic_config__" in vars(kind)
        }
        if wired:
            source = python_source.parse(Path(str(module.__file__)), module.__name__)
            for node in source.body:
                if isinstance(node, ast.ClassDef) and node.name in wired:
                    yield node.name, dict(_fields(node))


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
