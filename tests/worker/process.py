"""Runs the guest's host as others do: by file path, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def package() -> Path:
    """The directory of modelyard_worker."""
    spec = importlib.util.find_spec("modelyard_worker")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str
    document: dict[str, Any] | None

    @property
    def result(self) -> dict[str, Any]:
        """The result; a failure fails the test."""
        assert self.document is not None, self.stderr
        assert self.document["failure"] is None, self.document["failure"]
        result: dict[str, Any] = self.document["result"]
        return result

    @property
    def failure(self) -> tuple[str, str]:
        """Reason and message; a success fails the test."""
        assert self.document is not None, self.stderr
        assert self.document["result"] is None, self.document["result"]
        return self.document["failure"]["reason"], self.document["failure"]["message"]


def inspect(
    config: dict[str, Any],
    directory: Path,
    *flags: str,
    host: Path | None = None,
    python: Path | str = sys.executable,
) -> Outcome:
    """Run `inspect` with a worker.json of this content."""
    return _run("inspect", config, directory, flags=flags, host=host, python=python)


def test(config: dict[str, Any], request: dict[str, Any], directory: Path) -> Outcome:
    """Run `test` with this request."""
    return ask(sys.executable, config, request, directory)


def ask(python: Path | str, config: dict[str, Any], request: dict[str, Any], directory: Path) -> Outcome:
    """Run `test` with this request in another interpreter."""
    path = directory / "request.json"
    path.write_text(json.dumps(request))
    return _run("test", config, directory, "--request", str(path), python=python)


test.__test__ = False  # type: ignore[attr-defined]


_ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from modelyard_worker import commands, loaders, requests
from modelyard_worker.arrays import nested
with open(sys.argv[2]) as file:
    config, asked = json.load(file)
loaded = loaders.load(config)


def answer(request):
    outputs = loaded.predict(requests.tensors(request, loaded.signature["inputs"]), {})
    return {name: nested(array) for name, array in outputs.items()}


commands.write_beside(sys.argv[3], [commands.report(lambda: answer(request)) for request in asked])
commands._leave()
"""


def ask_each(config: dict[str, Any], asked: list[dict[str, Any]], directory: Path) -> list[dict[str, Any]]:
    """Load a model once and answer several requests: `result` or `failure` of each."""
    path, out = directory / "asked.json", directory / "answers.json"
    path.write_text(json.dumps([config, asked]))
    command = [sys.executable, "-c", _ASK, str(package().parent), str(path), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert out.exists(), ended.stderr
    answers: list[dict[str, Any]] = json.loads(out.read_text())
    return answers


def _run(
    command: str,
    config: dict[str, Any],
    directory: Path,
    *options: str,
    flags: tuple[str, ...] = (),
    host: Path | None = None,
    python: Path | str = sys.executable,
) -> Outcome:
    settings, out = directory / "worker.json", directory / "result.json"
    settings.write_text(json.dumps(config))
    arguments = [str(python), *flags, str((host or package()) / "__main__.py"), command]
    ended = subprocess.run(
        [*arguments, "--config", str(settings), "--out", str(out), *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    document = json.loads(out.read_text()) if out.exists() else None
    return Outcome(ended.returncode, ended.stdout, ended.stderr, document)
