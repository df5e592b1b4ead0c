"""Writes manifests as YAML that every reader of Kubernetes takes for the same."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0[box][0-9a-fA-F_]+")
_BREAKS = frozenset("\x85\u2028\u2029")
"""Ends of lines for YAML, which only escapes keep as they are."""
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})


class _Plain(yaml.SafeDumper):
    """Quotes texts that another reader takes for numbers, and writes what is there twice twice.

    PyYAML reads `12e34` and `y` as texts and leaves them bare; Go's readers do not, and a digest may be so.
    """

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    quoted = _NUMBER.fullmatch(value) or value.lower() in _WORDS
    style = '"' if _BREAKS.intersection(value) else "'" if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Plain.add_representer(str, _text)


def document(value: Any, *, width: int = 80) -> str:
    """One document, its keys as they are ordered."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=width)


def documents(values: Any, *, width: int = 80) -> str:
    """Several, each after a line of dashes."""
    return "".join(f"---\n{document(each, width=width)}" for each in values)
