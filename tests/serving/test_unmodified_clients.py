"""Clients of other projects, unmodified, in an environment of their own beside ours.

Their packages conflict with ours, so they are installed from `locks/clients.lock` when the tests run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import uv

from tests.serving.replicas import Replica

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "locks/clients.lock"
HOME = ROOT / ".venvs/clients"
HERE = Path(__file__).parent / "clients"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def clients() -> Path:
    """The directory of the programs of the clients' environment."""
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "clients.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
        made = HOME / "made-of"
        if not made.exists() or made.read_text() != digest:
            _make()
            made.write_text(digest)
    return HOME / "bin"


def _make() -> None:
    tool = uv.find_uv_bin()
    install = [tool, "pip", "install", "--quiet", "--require-hashes", "--link-mode=copy"]
    for command in (
        [tool, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)],
        [*install, "--python", str(HOME / "bin/python"), "-r", str(LOCK)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        if done.returncode != 0:
            why = f"NOT TESTED: the environment of other projects' clients cannot be made: {done.stderr}"
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(why, stacklevel=1)
            pytest.skip(why)


def run(*command: str | Path, cwd: Path | None = None, seconds: float = 200) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environ,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def address(replica: Replica) -> str:
    return f"127.0.0.1:{replica.port}"


def test_kserves_client_asks_both_protocols(clients: Path, table: Replica) -> None:
    assert "kserve: ok" in run(clients / "python", HERE / "ask_kserve.py", address(table))


def test_openais_client_chats_streams_and_embeds(clients: Path, shouter: Replica, vectors: Replica) -> None:
    asked = run(clients / "python", HERE / "ask_openai.py", address(shouter), address(vectors))
    assert "openai: ok" in asked


@pytest.mark.parametrize("name", ["table", "shouter"])
def test_schemathesis_finds_no_answer_that_the_description_does_not_have(
    clients: Path, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    replica: Replica = request.getfixturevalue(name)
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    run(
        clients / "schemathesis",
        "run",
        f"http://{address(replica)}/v2/models/{name}/openapi.json",
        f"--checks={checks}",
        "--max-examples=40",
        "--phases=examples,coverage,fuzzing",
        "--mode=all",
        "--generation-database=none",
        "--seed=7",
        cwd=tmp_path,  # it keeps what it finds where it runs
    )
