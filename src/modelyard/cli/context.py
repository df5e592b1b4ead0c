"""What holds for every command: server, token, project, output format; and the options that say so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console

from modelyard import Client
from modelyard.domain.errors import FieldError, Invalid

FORMATS = ("table", "json", "yaml")
_OPTIONS = {
    "-o": "output",
    "--output": "output",
    "--project": "project",
    "--server": "server",
    "--token": "token",
}


@dataclass(frozen=True, slots=True)
class Context:
    """The global options of one call."""

    output: str = "table"
    project: str | None = None
    server: str | None = None
    token: str | None = None


_current: ContextVar[Context] = ContextVar("context", default=Context())  # noqa: B039 - frozen


def split(argv: Sequence[str]) -> tuple[Context, list[str]]:
    """Take the global options out of the arguments, wherever they stand before a lone `--`.

    Raises Invalid for an option without a value and an unknown output format.
    """
    values: dict[str, str] = {}
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            rest += [argument, *arguments]
            break
        name, equals, value = argument.partition("=")
        if name not in _OPTIONS:
            rest.append(argument)
            continue
        values[_OPTIONS[name]] = value if equals else _value(name, arguments)
    context = Context(**values)
    if context.output not in FORMATS:
        message = f"{context.output} is not an output format; choose {', '.join(FORMATS)}"
        raise Invalid(message, errors=[FieldError("--output", message)])
    return context, rest


def use(context: Context) -> None:
    """Make these the options of the running call."""
    _current.set(context)


def current() -> Context:
    """The options of the running call."""
    return _current.get()


@contextmanager
def client() -> Iterator[Client]:
    """A client of the server and project that this call is about."""
    made = Client(current().server, current().token, project=current().project)
    try:
        yield made
    finally:
        made.close()


def notes() -> Console:
    """Where progress and remarks go: standard error, plain when piped or `NO_COLOR` is set."""
    return Console(file=sys.stderr, highlight=False, no_color="NO_COLOR" in os.environ or None)


def _value(name: str, arguments: Iterator[str]) -> str:
    value = next(arguments, None)
    if value is None:
        message = f"{name} needs a value"
        raise Invalid(message, errors=[FieldError(name, message)])
    return value
