"""Data to standard output: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import yaml
from rich.console import Console
from rich.table import Table

from modelyard.cli import context
from modelyard.client import decode

Column = tuple[str, Callable[[Any], object]]


def show(value: Any, columns: Sequence[Column]) -> None:
    """One resource: its columns as a list of names and values, or the whole of it as JSON or YAML."""
    if context.current().output != "table":
        return _document(decode.plain(value))
    width = max(len(name) for name, _ in columns)
    lines = [f"{name:<{width}}  {_text(read(value))}" for name, read in columns if _text(read(value))]
    sys.stdout.write("\n".join(lines) + "\n")


def rows(values: Sequence[Any], columns: Sequence[Column]) -> None:
    """Several resources, one a line."""
    if context.current().output != "table":
        return _document({"items": [decode.plain(each) for each in values]})
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in columns:
        table.add_column(name.upper(), overflow="fold")
    for value in values:
        table.add_row(*(_text(read(value)) for _, read in columns))
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    console = Console(highlight=False, no_color=plain, width=200 if plain else None)
    console.print(table)


def data(value: Any) -> None:
    """A plain JSON value; YAML when asked for."""
    _document(value)


def _document(value: Any) -> None:
    if context.current().output == "yaml":
        sys.stdout.write(yaml.safe_dump(_simple(value), sort_keys=False, allow_unicode=True))
        return
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(value, option=options, default=str).decode() + "\n")


def _simple(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=str))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
