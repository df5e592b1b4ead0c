"""The documentation says what is so: generated pages are fresh, links lead somewhere, code is code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from modelyard import settings
from modelyard.cli.app import app
from modelyard.domain import errors, failures

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs/reference"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands() -> Iterator[tuple[Path, str]]:
    """Every `modelyard …` line of every page."""
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"\$.*?(?<![/\w'-])(?:\.venv/bin/)?modelyard ((?:[^#|)]|'[^']*')*)", line)
                if found:
                    yield page, found[1].strip()


def test_the_generated_pages_are_fresh() -> None:
    command = [sys.executable, "tools/generate_docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_failure_setting_and_error_is_documented() -> None:
    for page, names in (
        ("failures.md", failures.CATALOGUE),
        ("settings.md", settings.names()),
        ("errors.md", [kind.__name__ for kind in errors.ALL]),
    ):
        text = (REFERENCE / page).read_text()
        missing = [name for name in names if f"`{name}`" not in text]
        assert missing == [], page
        assert "|  |\n" not in text, f"{page} has an entry without a meaning"


def references(value: Any) -> Iterator[str]:
    """Every `$ref` anywhere in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_reference_of_the_api_description_resolves() -> None:
    document = json.loads((REFERENCE / "openapi.json").read_text())
    for reference in set(references(document)):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]
    assert "PublishSpec" in document["components"]["schemas"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            if anchor:
                headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
                slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
                assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_code_parses(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "yaml"):
        assert list(yaml.safe_load_all(block))


def test_every_command_in_the_documentation_exists_with_its_options() -> None:
    root = typer.main.get_command(app)
    seen = 0
    for page, line in commands():
        words = [word.strip("'\"") for word in line.split()]
        command: Any = root
        while words and hasattr(command, "commands"):
            word = words.pop(0)
            if word in ("--server", "--project", "--token", "-o"):
                words.pop(0)
                continue
            assert word in command.commands, f"{page.name}: modelyard {line}"
            command = command.commands[word]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        known |= {"-o", "--output", "--project", "--server", "--token", "-h", "--help"}
        used = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= known, f"{page.name}: modelyard {line}"
        seen += 1
    assert seen > 20
