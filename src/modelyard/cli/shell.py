"""exec: a command or a shell inside a replica."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from modelyard import Client, ModelyardError
from modelyard.cli import context
from modelyard.client.outputs import Ended, Piece

_CHUNK = 65_536
_BARE = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("exec", context_settings=_BARE)(run)


def run(
    name: Annotated[str, typer.Argument(help="NAME or NAME@STAGE")],
    command: Annotated[list[str] | None, typer.Argument(help="Command; a shell if not said")] = None,
    replica: Annotated[str, typer.Option(help="Which replica; the first that runs if not said")] = "",
    terminal: Annotated[
        bool | None, typer.Option("--tty/--no-tty", help="On a terminal; as here, if not said")
    ] = None,
) -> int:
    """Run a command in a replica's environment; its exit code is ours."""
    words = command or []
    words = words[1:] if words[:1] == ["--"] else words
    seen = sys.stdin.isatty() and sys.stdout.isatty() if terminal is None else terminal
    with context.client() as client:
        shell = client.shells.open(name, words, replica=replica, terminal=_size() if seen else None)
        with _raw() if seen else _plain():
            if seen:
                signal.signal(signal.SIGWINCH, lambda *_: client.shells.resize(name, shell, *_size()))
            threading.Thread(target=_feed, args=(client, name, shell), daemon=True).start()
            return _show(client, name, shell)


def _show(client: Client, name: str, shell: str) -> int:
    """Write what comes until the end; the exit code, as shells count it."""
    for each in client.shells.read(name, shell):
        match each:
            case Piece(stream, data):
                out = sys.stderr.buffer if stream == "stderr" else sys.stdout.buffer
                out.write(data)
                out.flush()
            case Ended(code):
                return code if code >= 0 else 128 - code
    context.notes().print("the connection ended before the command did")
    return 1


def _feed(client: Client, name: str, shell: str) -> None:
    """Send what is typed, or what is piped in, until it ends."""
    try:
        while data := _typed():
            client.shells.write(name, shell, data)
        client.shells.write(name, shell, b"", end=True)
    except ModelyardError:
        return  # it has ended before


def _typed() -> bytes:
    """Some input; nothing at its end, or where there is none."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK)
    except (OSError, ValueError):
        return b""


@contextmanager
def _raw() -> Iterator[None]:
    """Keys go through as they are pressed."""
    descriptor = sys.stdin.fileno()
    before: list[Any] = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _plain() -> Iterator[None]:
    yield


def _size() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return 24, 80
    return rows, columns
