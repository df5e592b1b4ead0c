"""Texts that people write into one field: names to fill in, blocks of files, lines of variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelyard.domain.errors import FieldError, Invalid

_NAMED = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")
_OLD = re.compile(r"\$(?:\{(model_path|model_name|model_version)\}|(model_path|model_name|model_version)\b)")
_OLD_NAMES = {
    "model_path": "MODELYARD_MODEL_PATH",
    "model_name": "KUBEFLOW_MODEL_NAME",
    "model_version": "MODELYARD_MODEL_VERSION",
}
_LONGEST = 65_536
_HEADER = re.compile(r"---[ \t]*([A-Za-z0-9_.][A-Za-z0-9_.-]*)[ \t]*\r?\n?")


def fill(text: str, names: Mapping[str, str]) -> str:
    """The text with each known `{{NAME}}`, `$model_path`, `$model_name` and `$model_version` filled in.

    What is not known stays as it is, since configuration files have braces and dollars of their own.
    """
    text = _NAMED.sub(lambda found: names.get(found[1], found[0]), text)
    return _OLD.sub(lambda found: names.get(_OLD_NAMES[found[1] or found[2]], found[0]), text)


def fill_command(command: str | tuple[str, ...], names: Mapping[str, str]) -> str | tuple[str, ...]:
    """A command, as one text for a shell or as separate words, with its names filled in."""
    if isinstance(command, str):
        return fill(command, names)
    return tuple(fill(word, names) for word in command)


def argv(command: str | tuple[str, ...]) -> tuple[str, ...]:
    """How a command is started: words as they are, a text by a shell."""
    return ("/bin/sh", "-c", command) if isinstance(command, str) else command


def command_errors(command: str | tuple[str, ...], path: str) -> list[FieldError]:
    """What is wrong with a command, with the remedy."""
    words = (command,) if isinstance(command, str) else command
    if any("\0" in word or _has_surrogate(word) for word in words):
        return [FieldError(path, "holds characters that a command cannot carry; remove them")]
    if sum(map(len, words)) > _LONGEST:
        return [FieldError(path, f"is longer than {_LONGEST} characters; put a script into `config_files`")]
    if not isinstance(command, str) and command and not command[0]:
        return [FieldError(f"{path}[0]", "is empty; the first word is the program")]
    return []


def split_files(text: str, path: str) -> dict[str, str]:
    """Files from one text, each after a line `---name`. Raises Invalid that names `path` and the line."""
    files: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if header := _HEADER.fullmatch(line):
            name = header[1]
            if name in files:
                raise _wrong(path, f"line {number}: a file {name} was begun before; give each its own name")
            files[name] = ""
        elif name:
            files[name] += line
        elif line.strip():
            raise _wrong(path, f"line {number} belongs to no file; begin with a line such as `---model.conf`")
    return files


def join_files(files: Mapping[str, str]) -> str:
    """One text of `---name` blocks; the inverse of `split_files` for files that end with a line's end."""
    return "".join(f"---{name}\n{text}" for name, text in files.items())


def split_variables(text: str, path: str) -> dict[str, str]:
    """Variables from lines `KEY=VALUE`, empty ones and comments left out. Raises Invalid that names the line.

    An `=` in the value is kept, and so is everything else up to the line's end.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.removesuffix("\r")
        if not bare.strip() or bare.lstrip().startswith("#"):
            continue
        name, equals, value = bare.partition("=")
        if not equals:
            raise _wrong(path, f"line {number} has no `=`; write KEY=VALUE")
        found[name.strip()] = value
    return found


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _wrong(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
