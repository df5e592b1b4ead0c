"""The command line against an installation on loopback; each test has a project of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from modelyard import Client
from modelyard.cli import app
from modelyard.domain.project import ProjectSpec
from tests.support.faces import Live, live

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return orjson.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("cli") / "home") as made:
        yield made


@pytest.fixture
def run(
    installation: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run a command as a user with a fresh home would; its code must be the one expected."""
    project = f"cli-{next(_numbers)}"
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELYARD_URL", installation.url)
    monkeypatch.setenv("MODELYARD_TOKEN", installation.token)
    monkeypatch.setenv("MODELYARD_PROJECT", project)
    monkeypatch.chdir(tmp_path)
    with Client(installation.url, installation.token, environ={}) as client:
        client.projects.apply(project, ProjectSpec())

    def running(*argv: str, code: int = 0) -> Done:
        capfd.readouterr()
        ended = app.run(list(argv))
        out, err = capfd.readouterr()
        assert ended == code, f"{argv}: {ended}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return Done(ended, out, err)

    return running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model of a few lines, with its signature beside it."""
    path = tmp_path / "model.py"
    path.write_text("def predict(inputs):\n    return inputs\n")
    (tmp_path / "signature.json").write_text(
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}], "sample": {"x": [[1, 2]]}}'
    )
    return path


@pytest.fixture
def published(run: Run, source: Path) -> str:
    """A version that was published with the command line."""
    run("publish", str(source), "--name", "sums", "--signature", "signature.json")
    return "sums@1"
