"""What only a pod knows of itself, within texts of users: told apart until somebody fills it in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

_OURS = "\0"
"""Stands for the `$` of a reference; no variable, command or path of a user can hold it."""
_REFERENCE = re.compile(r"\0\(([A-Za-z0-9_]+)\)")
_TAKEN = re.compile(r"\$+(?=[(\0])|\${2,}")
"""Dollars that Kubernetes does not leave as they are: `$(NAME)` is a reference for it, `$$` is one `$`."""


def of(name: str) -> str:
    """Stands for the value of a variable of the container."""
    return f"{_OURS}({name})"


def expanded(text: str) -> str:
    """For a command, an argument or a variable: what Kubernetes makes of it is what the user wrote."""
    return _TAKEN.sub(lambda dollars: 2 * dollars[0], text).replace(_OURS, "$")


def without(names: Mapping[str, str]) -> dict[str, str]:
    """Those names whose values are known before there is a pod."""
    return {name: value for name, value in names.items() if _OURS not in value}


def asked_inside(words: Sequence[str]) -> list[str]:
    """A command that the kubelet runs in a container as it is: a shell fills in, where there is anything."""
    if not any(_OURS in word for word in words):
        return list(words)
    return ["/bin/sh", "-c", f"exec {' '.join(map(_quoted, words))}"]


def _quoted(word: str) -> str:
    """One word for a shell, in which only references are not to be taken literally."""
    text_and_names = _REFERENCE.split(word)
    return "".join(
        f'"${{{each}}}"' if number % 2 else shlex.quote(each)
        for number, each in enumerate(text_and_names)
        if each or len(text_and_names) == 1
    )
