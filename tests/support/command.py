"""The command line as its users call it, and waiting for what must come true."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tests.support.patience import PATIENCE
from tests.support.platform import Running

T = TypeVar("T")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Said:
    """What one command answered."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        return self.out + self.err


def modelyard(platform: Running, *arguments: str, code: int | None = 0, seconds: float = 200) -> Said:
    """Run `modelyard` against a platform; `code` is the expected exit code, None for any."""
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *arguments],
        env=platform.environ,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = Said(done.returncode, done.stdout, done.stderr)
    assert code is None or said.code == code, f"{arguments}: {said.code}\n{said.everything}"
    assert "Traceback" not in said.everything, said.everything
    return said


def until(found: Callable[[], T | None], what: str, *, seconds: float = PATIENCE) -> T:
    """Look until `found` gives something true; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, f"never happened: {what}; last seen: {value!r}"
        time.sleep(_LOOK_SECONDS)
