"""Write the generated pages of the reference; `--check` fails when one is stale."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from fastapi import FastAPI

from modelyard import settings
from modelyard.api import app as api
from modelyard.api import problems
from modelyard.api.verbs import KEY
from modelyard.cli.app import EXIT_CODES
from modelyard.cli.app import app as cli
from modelyard.domain import access, errors, failures

REFERENCE = Path(__file__).resolve().parent.parent / "docs/reference"


def pages() -> dict[str, str]:
    """Every generated page, by file name."""
    described = application()
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "failures.md": failures_page(),
        "access.md": access_page(),
        "cli.md": cli_page(),
        "api.md": api_page(described),
        "openapi.json": json.dumps(described.openapi(), indent=1, sort_keys=True) + "\n",
    }


def application() -> FastAPI:
    """The API's routes, without a platform behind them."""

    async def exposition() -> tuple[bytes, str]:
        return b"", "text/plain"

    class Described:
        version = "0"

        @staticmethod
        def new_id() -> str:
            return ""

    return api.create(Described(), observe=lambda *_: None, exposition=exposition)  # type: ignore[arg-type]


def settings_page() -> str:
    """Settings with defaults and meaning."""
    lines = [
        "# Settings",
        "",
        "`modelyard.toml` in the data directory < `MODELYARD_SECTION__KEY` in the environment < flags of "
        "`modelyard up`.",
        "`modelyard config show --origin` prints what is in force and why.",
        "",
        "| setting | default | environment | meaning |",
        "|---|---|---|---|",
    ]
    default = settings.Settings()
    for section in dataclasses.fields(settings.Settings):
        group = getattr(default, section.name)
        meanings = _docstrings(type(group))
        for key in dataclasses.fields(group):
            name = f"{section.name}.{key.name}"
            variable = f"MODELYARD_{section.name}__{key.name}".upper()
            value = getattr(group, key.name)
            lines.append(f"| `{name}` | `{value!r}` | `{variable}` | {meanings.get(key.name, '')} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """The error tree with codes, statuses and exit codes."""
    lines = [
        "# Errors",
        "",
        "The API answers RFC 9457 `application/problem+json` with a stable `code`; the "
        "SDK raises the class of the",
        "same name; the command line ends with the exit code.",
        "",
        "| class | code | HTTP status | exit code | meaning |",
        "|---|---|---|---|---|",
    ]
    for kind in errors.ALL:
        exit_code = next((code for known, code in EXIT_CODES if issubclass(kind, known)), 1)
        meaning = (inspect.getdoc(kind) or "").splitlines()[0]
        lines.append(
            f"| `{kind.__name__}` | `{kind.code}` | {problems.STATUS[kind]} | {exit_code} | {meaning} |"
        )
    lines += ["", "Also: 0 ok, 2 usage, 8 the server cannot be reached, 130 interrupted."]
    return "\n".join(lines) + "\n"


def failures_page() -> str:
    """The catalogue behind `modelyard explain`."""
    lines = [
        "# Failures that `modelyard explain` names",
        "",
        "| reason | stage | what happened | cause | remedy |",
        "|---|---|---|---|---|",
    ]
    for reason, entry in failures.CATALOGUE.items():
        lines.append(
            f"| `{reason}` | {entry.stage.value} | {_cell(entry.title)} | {_cell(entry.cause)} "
            f"| {_cell(entry.remedy)} |"
        )
    return "\n".join(lines) + "\n"


def access_page() -> str:
    """Who may do what."""
    roles = list(access.Role)
    lines = [
        "# Access",
        "",
        "Administrators may do everything. A token can be limited to some verbs; it never gives more than",
        "its user has.",
        "",
        "| verb | meaning | " + " | ".join(role.value for role in roles) + " |",
        "|---|---|" + "---|" * len(roles),
    ]
    meanings = _docstrings(access.Verb)
    for verb in access.Verb:
        if verb in (access.Verb.SELF, access.Verb.ANYONE):
            continue
        marks = " | ".join("yes" if verb in access.PERMITTED[role] else "" for role in roles)
        lines.append(f"| `{verb.value}` | {meanings.get(verb.name, '')} | {marks} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every command with its options."""
    lines = [
        "# Command line",
        "",
        "Everywhere: `-o table|json|yaml`, `--project NAME`, `--server URL`, `--token "
        "TOKEN`. Data goes to standard",
        "output, progress to standard error.",
    ]
    for path, command in _commands(typer.main.get_command(cli), ("modelyard",)):
        arguments = [
            (p.metavar or p.name or "").upper() for p in command.params if p.param_type_name == "argument"
        ]
        lines += [
            "",
            f"## `{' '.join([*path, *arguments])}`",
            "",
            (command.help or "").strip(),
        ]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        if options:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += [
                f"| `{' '.join([*p.opts, *p.secondary_opts])}` | {_cell(p.help or '')} |" for p in options
            ]
    return "\n".join(lines) + "\n"


def api_page(app: FastAPI) -> str:
    """Every route with the verb it needs."""
    lines = [
        "# REST API",
        "",
        "[openapi.json](openapi.json)",
        "",
        "| method | path | what it does | needs |",
        "|---|---|---|---|",
    ]
    for path, methods in app.openapi()["paths"].items():
        for method, route in methods.items():
            said = (route.get("description") or "").split("\n\n")[0].replace("\n", " ")
            lines.append(f"| {method.upper()} | `{path}` | {_cell(said)} | {route.get(KEY, '')} |")
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in sorted(children.items()):
        yield from _commands(child, (*path, name))


def _docstrings(kind: type) -> dict[str, str]:
    """Attribute docstrings of a class, by attribute."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        target = before.target if isinstance(before, ast.AnnAssign) else getattr(before, "targets", [None])[0]
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(target, ast.Name) and is_text:
            found[target.id] = _cell(str(after.value.value))  # type: ignore[attr-defined]
    return found


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            path.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
