"""What names may look like, and how references to versions and files are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid

LATEST = "latest"
"""The selector of a model's newest version."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME_RULE = "use 1 to 63 lower-case letters a-z, digits and hyphens, with a letter or digit at both ends"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_FILE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_RESERVED = "MODELYARD_"
_MOST_TEXT = 100_000
_MOST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A reference to one version of a model: `churn@3`, `churn@champion`, `churn`."""

    name: str
    selector: str = LATEST
    """A number, `latest`, or a label or alias."""

    @property
    def number(self) -> str:
        """The version's number, or empty when the selector must be looked up first."""
        return self.selector if _NUMBER.fullmatch(self.selector) else ""

    def __str__(self) -> str:
        return f"{self.name}@{self.selector}"


def require_name(value: str, path: str) -> str:
    """The name itself when it is a DNS-1123 label; else raises Invalid that names `path` and a remedy."""
    if not _NAME.fullmatch(value):
        _refuse(path, _name_message(value))
    return value


def is_name(value: str) -> bool:
    """Whether it is a DNS-1123 label."""
    return _NAME.fullmatch(value) is not None


def is_subdomain(value: str) -> bool:
    """Whether it is a DNS-1123 subdomain, as most objects of Kubernetes are named."""
    return _SUBDOMAIN.fullmatch(value) is not None


def require_label(value: str, path: str) -> str:
    """The version label itself, such as `v2026.11.22.1`; raises Invalid that names `path`."""
    rule = "use up to 63 letters, digits, dots, hyphens and underscores, such as `v2026.11.22.1`"
    if not _LABEL.fullmatch(value):
        _refuse(path, f"{_shown(value)} is not a version label; {rule}")
    if value.isdigit() or value == LATEST:
        _refuse(path, f"{_shown(value)} is kept for the platform's own version numbers; {rule}")
    return value


def require_alias(value: str, path: str) -> str:
    """The alias itself, such as `champion`; raises Invalid that names `path`."""
    rule = "use a word such as `champion`"
    if not _NAME.fullmatch(value):
        _refuse(path, f"{_shown(value)} is not an alias; {rule}: {_NAME_RULE}")
    if value.isdigit() or value == LATEST:
        _refuse(path, f"{_shown(value)} already means a version by itself; {rule}")
    return value


def parse_model_ref(text: str, path: str = "model") -> ModelRef:
    """Read `NAME`, `NAME@SELECTOR` or `NAME:SELECTOR`; raises Invalid that names `path`."""
    name, separator, selector = text.replace(":", "@", 1).partition("@")
    require_name(name, path)
    if not separator:
        return ModelRef(name)
    if _NUMBER.fullmatch(selector) or (_LABEL.fullmatch(selector) and not selector.isdigit()):
        return ModelRef(name, selector)
    _refuse(
        path,
        f"{_shown(selector)} is not a version; write a number, a label, an alias or `latest` "
        f"after the `@`, such as `{name}@1` or `{name}@latest`",
    )


def replica_name(deployment: str, *, id: int, revision: int, ordinal: int) -> str:
    """A replica's name: the same facts give the same name, so that starting twice collides.

    The deployment's id makes it unique on the platform, as gateways know replicas by name alone.
    """
    return f"{deployment}-{id}-{revision}-{ordinal}"


def service_name(model: str, version: str) -> str:
    """What a service of this version is called when nobody names it: the model, and the version's digits.

    `mnist` in `v2022.10.01.1` is `mnist-202210011`. Different versions may have the same digits.
    """
    digits = re.sub(r"[^0-9]", "", version)[:40]
    return f"{model[: 62 - len(digits)].rstrip('-')}-{digits}" if digits else model


def env_errors(env: Mapping[str, str], path: str) -> list[FieldError]:
    """What is wrong with environment variables, each with its remedy."""
    return [
        FieldError(f"{path}.{_key(name)}", wrong)
        for name, text in env.items()
        for wrong in _variable(name, text)
    ]


def file_name_errors(files: Mapping[str, str], path: str) -> list[FieldError]:
    """What is wrong with the names and texts of configuration files, each with its remedy."""
    return [
        FieldError(f"{path}.{_key(name)}", wrong)
        for name, text in files.items()
        for wrong in _file(name, text)
    ]


def _variable(name: str, text: str) -> Iterator[str]:
    if not _VARIABLE.fullmatch(name):
        yield f"{_shown(name)} is not a variable name; use letters, digits and `_`, and no digit first"
    elif name.upper().startswith(_RESERVED):
        yield f"names that begin with {_RESERVED} are set by the platform; choose another name"
    if "\0" in text or not _encodable(text):
        yield "the value holds characters that an environment cannot carry; put it in a config file instead"
    elif len(text) > _MOST_TEXT:
        yield f"the value is longer than {_MOST_TEXT} characters; put it in a config file instead"


def _file(name: str, text: str) -> Iterator[str]:
    if not _FILE.fullmatch(name) or name in (".", ".."):
        yield f"{_shown(name)} is not a file name; use letters, digits, `.`, `_` and `-`, and no folders"
    if not _encodable(text):
        yield "the text is not valid Unicode; save the file as UTF-8"
    elif len(text) > _MOST_FILE:
        yield f"the text is longer than {_MOST_FILE} characters; publish it with the model instead"


def _name_message(value: str) -> str:
    if not value:
        return f"a name is missing; {_NAME_RULE}"
    odd = next((c for c in value if not c.isascii()), "")
    why = f" ({unicodedata.name(odd, 'an unnamed character')} is not a-z)" if odd else ""
    better = _suggestion(value)
    example = f", such as `{better}`" if better else ""
    return f"{_shown(value)} is not a valid name{why}; {_NAME_RULE}{example}"


def _suggestion(value: str) -> str:
    """The nearest valid name, or empty."""
    plain = unicodedata.normalize("NFKD", value[:300]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].strip("-")


def _encodable(text: str) -> bool:
    """Whether the text has no lone surrogates, which JSON can smuggle in."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _key(name: str) -> str:
    """A mapping's key as part of a path: bare when it is plain, else quoted and short."""
    return name if _VARIABLE.fullmatch(name) else _shown(name)


def _shown(value: str) -> str:
    """The value as an error may repeat it: quoted, printable and short."""
    return ascii(value if len(value) <= 70 else value[:70] + "…")


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
