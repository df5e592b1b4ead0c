"""Environments made where they are used: from wheels alone, with the network refused."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from modelyard_fetch import environment, outcome
from tests.fetch.running import PROGRAM
from tests.support.wheels import wheel

Make = Callable[..., tuple[int, str]]
SCALE = "from base_kit import TWO\ndef scale(v): return v * TWO\n"
PREDICT = "import model, json; print(json.dumps(model.Model().predict({'x': [1, 2]})))"
MODEL = """
from scorekit import weights

class Model:
    def predict(self, inputs):
        return {"y": [weights.scale(value) for value in inputs["x"]]}
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


@pytest.fixture
def lock(tmp_path: Path, wheels: Path) -> Path:
    lines = [
        wheel(wheels, "scorekit", "1.2", {"scorekit/__init__.py": "", "scorekit/weights.py": SCALE})[1],
        wheel(wheels, "base_kit", "2.0", {"base_kit/__init__.py": "TWO = 2\n"})[1],
    ]  # fmt: skip
    path = tmp_path / "requirements.lock"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(params=["uv", "pip"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes environments with uv, or with what Python brings itself."""
    if request.param == "pip" and importlib.util.find_spec("ensurepip") is None:
        pytest.skip("this Python was made without pip")
    return partial(_make, uv=request.param == "uv")


def _make(lock: Path, into: Path, *more: str, uv: bool) -> tuple[int, str]:
    """Run it with every way to a network shut."""
    shut = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
    alone = ["unshare", "-n"] if os.geteuid() == 0 and shutil.which("unshare") else []
    program = str(Path(sys.executable).parent / "uv")
    choice = ["--uv", program] if uv else []
    # An image without uv: the interpreter behind our environment, and nothing on the path.
    python = sys.executable if uv else getattr(sys, "_base_executable", sys.executable)
    kept["PATH"] = kept["PATH"] if uv else "/usr/bin:/bin"
    done = subprocess.run(
        [*alone, python, "-I", PROGRAM, "environment",
         "--requirements", str(lock), "--into", str(into), *choice,
         "--last-words", str(lock.with_name("words")), *more],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **shut},
    )  # fmt: skip
    return done.returncode, done.stderr


def test_an_environment_is_made_from_wheels_and_loads_a_model(
    tmp_path: Path, wheels: Path, lock: Path, make: Make
) -> None:
    into = tmp_path / "env" / "runtime"
    code, said = make(lock, into, "--wheels", str(wheels), "--offline")
    assert (code, said) == (outcome.OK, said)
    (tmp_path / "model.py").write_text(MODEL)
    answer = subprocess.run(
        [str(into / "bin/python"), "-c", PREDICT],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(answer.stdout) == {"y": [2, 4]}
    before = (into / environment.STAMP).stat().st_mtime_ns
    code, said = make(lock, into, "--wheels", str(tmp_path / "none"), "--offline")
    assert (code, "stands already" in said) == (outcome.OK, True)
    assert (into / environment.STAMP).stat().st_mtime_ns == before


def test_what_is_missing_offline_is_named(tmp_path: Path, wheels: Path, lock: Path, make: Make) -> None:
    (wheels / "base_kit-2.0-py3-none-any.whl").unlink()
    code, said = make(lock, tmp_path / "env", "--wheels", str(wheels), "--offline")
    assert code == outcome.PACKAGES
    assert said.splitlines()[-1].endswith(
        "RuntimeBuildFailed: offline, and not every package is here; missing: base-kit==2.0"
    )
    assert (tmp_path / "words").read_text().startswith("RuntimeBuildFailed: offline")
    assert not (tmp_path / "env").exists()


def test_a_wheel_that_is_not_the_locked_one_is_refused(
    tmp_path: Path, wheels: Path, lock: Path, make: Make
) -> None:
    wheel(wheels, "base_kit", "2.0", {"base_kit/__init__.py": "TWO = 3  # tampered\n"})
    code, said = make(lock, tmp_path / "env", "--wheels", str(wheels), "--offline")
    assert code == outcome.DIFFERS
    assert "a package is not what was locked" in said
    assert not (tmp_path / "env").exists()


def test_no_network_is_told(tmp_path: Path, lock: Path, make: Make) -> None:
    code, said = make(lock, tmp_path / "env", "--index-url", "https://user:word@index.invalid/simple")
    assert code == outcome.UNREACHABLE
    assert "IndexUnreachable: the package index cannot be reached" in said
    assert "user:word" not in said


def test_a_half_made_environment_is_made_anew(tmp_path: Path, wheels: Path, lock: Path, make: Make) -> None:
    into = tmp_path / "env"
    (into / "bin").mkdir(parents=True)
    (tmp_path / "env.new").mkdir()
    assert make(lock, into, "--wheels", str(wheels), "--offline")[0] == outcome.OK
    assert (into / "bin/python").exists()


def test_a_lock_without_hashes_and_none_at_all_are_refused(
    tmp_path: Path, wheels: Path, lock: Path, make: Make
) -> None:
    lock.write_text("scorekit==1.2\n")
    code, said = make(lock, tmp_path / "env", "--wheels", str(wheels), "--offline")
    assert code in (outcome.DIFFERS, outcome.PACKAGES), said
    code, said = make(tmp_path / "none", tmp_path / "env")
    assert (code, "cannot be read" in said) == (outcome.USAGE, True)


def test_an_environment_without_packages_is_one(tmp_path: Path, lock: Path, make: Make) -> None:
    lock.write_text("# nothing\n")
    assert make(lock, tmp_path / "env", "--offline")[0] == outcome.OK


def test_pins_and_wheels_are_compared_by_normalised_names() -> None:
    text = "Scikit_Learn==1.5.2 \\\n    --hash=sha256:aa\nnumpy==2.0 ; python_version > '3'\n# c\n"
    assert environment.pins(text) == {"scikit-learn": "1.5.2", "numpy": "2.0"}
    files = ["scikit_learn-1.5.2-cp311-cp311-linux_x86_64.whl", "numpy-2.1-cp311-cp311-any.whl", "x.tar.gz"]
    assert environment.lacking(text, files) == ["numpy==2.0"]
