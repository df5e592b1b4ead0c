"""A tree written as a template of a Helm chart: holes become `.Values`, conditions become `if`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.installing.tree import (
    NAMESPACE,
    Above,
    All,
    Base64,
    Condition,
    Equals,
    Given,
    Not,
    Other,
    Some,
    Spread,
    Text,
    Tree,
    Value,
    When,
    look,
    pieces,
)

_STEP = 2


def template(tree: Tree, defaults: Mapping[str, Any]) -> str:
    """One document as Helm reads it; `defaults` say of which type each value is."""
    return "\n".join(_lines(tree, 0, defaults)) + "\n"


def _lines(tree: Tree, depth: int, defaults: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a document or of a part of it, `depth` spaces in."""
    match tree:
        case When(condition, then, otherwise):
            yield f"{{{{- if {_condition(condition)} }}}}"
            yield from _lines(then, depth, defaults)
            if otherwise is not None:
                yield "{{- else }}"
                yield from _lines(otherwise, depth, defaults)
            yield "{{- end }}"
        case Mapping():
            for key, each in tree.items():
                yield from _entry(f"{' ' * depth}{_key(key)}:", each, depth, defaults)
        case list():
            for each in tree:
                yield from _item(each, depth, defaults)
        case _:
            yield f"{' ' * depth}{_scalar(tree, depth, defaults)}"


def _entry(head: str, tree: Tree, depth: int, defaults: Mapping[str, Any]) -> Iterator[str]:
    """`key:` and what stands behind or below it; nothing at all for nothing."""
    match tree:
        case None:
            return
        case When(condition, then, otherwise):
            yield f"{{{{- if {_condition(condition)} }}}}"
            yield from _entry(head, then, depth, defaults)
            if otherwise is not None:
                yield "{{- else }}"
                yield from _entry(head, otherwise, depth, defaults)
            yield "{{- end }}"
        case Mapping() | list() if tree:
            yield head
            yield from _lines(tree, depth + _STEP, defaults)
        case _:
            yield f"{head} {_scalar(tree, depth + _STEP, defaults)}"


def _item(tree: Tree, depth: int, defaults: Mapping[str, Any]) -> Iterator[str]:
    """`- ` and an entry of a list."""
    match tree:
        case None:
            return
        case When(condition, then, otherwise):
            yield f"{{{{- if {_condition(condition)} }}}}"
            yield from _item(then, depth, defaults)
            if otherwise is not None:
                yield "{{- else }}"
                yield from _item(otherwise, depth, defaults)
            yield "{{- end }}"
        case Spread(name):
            yield f"{{{{- with {_path(name)} }}}}"
            yield f"{{{{- toYaml . | nindent {depth} }}}}"
            yield "{{- end }}"
        case Mapping() | list() if tree:
            # The dash stands alone, so that the first key may be under a condition.
            yield f"{' ' * depth}-"
            yield from _lines(tree, depth + _STEP, defaults)
        case _:
            yield f"{' ' * depth}- {_scalar(tree, depth + _STEP, defaults)}"


def _scalar(tree: Tree, depth: int, defaults: Mapping[str, Any]) -> str:
    match tree:
        case Value(name) if name == NAMESPACE:
            return f"{{{{ {_path(name)} | quote }}}}"
        case Value(name):
            return _hole(name, look(defaults, name), depth)
        case Base64(name):
            return f"{{{{ {_path(name)} | b64enc | quote }}}}"
        case Text(pattern):
            texts = [
                json.dumps(part) if fixed else _printed(part, defaults) for fixed, part in pieces(pattern)
            ]
            return f"{{{{ print {' '.join(texts)} | quote }}}}"
        case _:
            return json.dumps(tree)


def _hole(name: str, default: Any, depth: int) -> str:
    match default:
        case bool():
            return f"{{{{ {_path(name)} }}}}"
        case int():
            return f"{{{{ int {_path(name)} }}}}"
        case str():
            return f"{{{{ {_path(name)} | quote }}}}"
        case _:
            return f"{{{{- toYaml {_path(name)} | nindent {depth} }}}}"


def _printed(name: str, defaults: Mapping[str, Any]) -> str:
    if name == NAMESPACE or isinstance(look(defaults, name), str):
        return _path(name)
    whole = isinstance(look(defaults, name), int) and not isinstance(look(defaults, name), bool)
    return f"(int {_path(name)} | toString)" if whole else f"(toString {_path(name)})"


def _condition(condition: Condition) -> str:
    match condition:
        case Given(name):
            return _path(name)
        case Equals(name, text):
            return f"eq {_path(name)} {json.dumps(text)}"
        case Other(name, text):
            return f"ne (toString {_path(name)}) {json.dumps(text)}"
        case Above(name, number):
            return f"gt (int {_path(name)}) {number}"
        case Not(other):
            return f"not ({_condition(other)})"
        case All(conditions):
            return "and " + " ".join(f"({_condition(each)})" for each in conditions)
        case Some(conditions):
            return "or " + " ".join(f"({_condition(each)})" for each in conditions)


def _path(name: str) -> str:
    return ".Release.Namespace" if name == NAMESPACE else f".Values.{name}"


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key[0].isalpha() else json.dumps(key)
