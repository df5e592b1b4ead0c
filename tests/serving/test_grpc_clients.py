"""Client libraries as people install them, each in an environment of its own, against one replica."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.peers import environments
from tests.serving.replicas import Replica, replica

PROGRAMS = Path(__file__).parent / "clients"
WORDS = "def predict(inputs):\n    return {name + '_out': array for name, array in inputs.items()}\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def python() -> Path:
    """tritonclient and kserve want another protobuf than we do."""
    try:
        return environments.interpreter("clients")
    except RuntimeError as error:
        pytest.skip(f"the clients' environment cannot be made here: {error}")


@pytest.fixture(scope="module")
def words() -> Iterator[Replica]:
    with replica(code=WORDS, signature=None, listen="tcp") as running:
        yield running


@pytest.mark.parametrize("program", ["triton.py", "kserve_client.py"])
def test_unmodified_clients_get_what_they_expect(python: Path, echo: Replica, program: str) -> None:
    assert _failed(python, echo, program) == {}


def test_unmodified_clients_send_every_datatype(python: Path, words: Replica) -> None:
    assert _failed(python, words, "triton_words.py") == {}


def _failed(python: Path, running: Replica, program: str) -> dict[str, str]:
    done = subprocess.run(
        [str(python), str(PROGRAMS / program), f"localhost:{running.port}"],
        env={**os.environ, "PYTHONPATH": str(environments.ROOT), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert outcomes
    return {name: outcome for name, outcome in outcomes.items() if outcome != "ok"}
