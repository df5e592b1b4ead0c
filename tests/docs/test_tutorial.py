"""The tutorial's commands, run as they stand there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_pages import ROOT, blocks
from tests.support.platform import Running

TUTORIAL = ROOT / "docs/tutorial/first-service.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "home").start()
    yield running
    running.stop()


def test_every_command_of_the_tutorial_works_in_order(platform: Running, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (source,) = blocks(TUTORIAL, "python")
    (work / "train.py").write_text(source)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "modelyard").write_text(f'#!/bin/sh\nexec {sys.executable} -m modelyard "$@"\n')
    (binaries / "modelyard").chmod(0o755)
    environ = {**platform.environ, "PATH": f"{binaries}:{platform.environ['PATH']}"}
    lines = [
        line.removeprefix("$ ")
        for block in blocks(TUTORIAL, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(lines) > 10
    for line in lines:
        done = subprocess.run(
            [shutil.which("sh") or "sh", "-c", line.replace("python train.py", f"{sys.executable} train.py")],
            cwd=work, env=environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, line
