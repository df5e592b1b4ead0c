"""`secret …`: values that models read and nobody else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import context, files, output
from modelyard.domain import texts
from modelyard.domain.errors import FieldError, Invalid

secrets = typer.Typer(no_args_is_help=True, help="Values that models read, and nobody else.")
_SECRET: list[output.Column] = [
    ("name", lambda s: s.name),
    ("keys", lambda s: ", ".join(s.keys)),
    ("used by", lambda s: ", ".join(s.used_by)),
    ("changed", lambda s: f"{s.changed_at:%Y-%m-%d %H:%M}"),
    ("by", lambda s: s.changed_by),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(secrets, name="secret")


@secrets.command("list")
def list_secrets() -> None:
    """The project's secrets: their keys, who changed them and who uses them; never values."""
    with context.client() as client:
        output.rows(client.secrets.list(), _SECRET)


@secrets.command("set")
def set_secret(
    name: str,
    value: Annotated[
        list[str] | None,
        typer.Argument(help="KEY=TEXT, KEY=@FILE, KEY=@- for standard input; @@ for an @ in front"),
    ] = None,
    from_env_file: Annotated[
        list[Path] | None, typer.Option(help="File of lines KEY=VALUE; - is standard input; repeat")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Key to forget; repeat")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Forget every key that is not given")] = False,
) -> None:
    """Create a secret, or change some of its values. Services that read them get a new revision.

    A value on the command line is seen in lists of processes and histories: give a file instead.
    """
    given: dict[str, str | bytes] = {}
    for file in from_env_file or []:
        given |= texts.split_variables(files.read(file), "--from-env-file")
    given |= {key: _value(key, text) for key, text in _pairs(value or []).items()}
    if not given and not remove:
        message = "give KEY=VALUE, KEY=@FILE, --from-env-file or --remove"
        raise Invalid(f"VALUE: {message}", errors=[FieldError("VALUE", message)])
    with context.client() as client:
        secret = client.secrets.set(name, given, remove=tuple(remove or ()), replace=replace)
        output.show(secret, _SECRET)


@secrets.command("delete")
def delete_secret(
    name: str,
    force: Annotated[bool, typer.Option("--force", help="Also while a service uses it")] = False,
) -> None:
    """Forget a secret; refused while a service uses it."""
    with context.client() as client:
        client.secrets.delete(name, force=force)
    context.notes().print(f"deleted {name}")


def _pairs(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE` words. An error names only their place, as a word may be a value that lost its key."""
    found: dict[str, str] = {}
    for number, word in enumerate(words, 1):
        key, equals, text = word.partition("=")
        if not equals or not key:
            message = f"number {number} has no key; write KEY=VALUE or KEY=@FILE"
            raise Invalid(f"VALUE: {message}", errors=[FieldError("VALUE", message)])
        found[key] = text
    return found


def _value(key: str, text: str) -> str | bytes:
    """What a word means: itself, or what a file has in it."""
    if text.startswith("@@") or not text.startswith("@"):
        return text.removeprefix("@")
    if text == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        message = f"{text[1:]} cannot be read: {error.strerror or error}"
        raise Invalid(f"{key}: {message}", errors=[FieldError(key, message)]) from None
