"""The demo in a process of its own: what it imports must not weigh on the control plane, nor wait for it.

`python -m modelyard.cli.demo_process STARTED` reads the platform's URL from standard input.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, cast

from modelyard import Client
from modelyard.cli import context, extras
from modelyard.domain.errors import ModelyardError

_LEAVE_SECONDS = 5.0


class DemoProcess:
    """The started demo; it imports its libraries until it is told where the platform answers.

    `started` is the monotonic time, seconds, that its figures count from.
    """

    def __init__(self, environ: Mapping[str, str], started: float) -> None:
        command = [sys.executable, "-m", __name__, repr(started)]
        # In a session of its own: Ctrl-C is the platform's, which then ends the demo.
        self._process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def begin(self, url: str) -> None:
        """Tell it where the platform answers."""
        told = cast(IO[str], self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it ended and said why
            told.write(f"{url}\n")
            told.close()

    def end(self) -> None:
        """End it, wherever it is."""
        self._process.terminate()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> int:
    """Run the demo once the URL is known; the exit code."""
    notes = context.notes()
    try:
        demo = extras.installed("modelyard.cli.demo", "demo")
        url = sys.stdin.readline().strip()
        if not url:
            return 1  # the platform did not start
        with Client(url) as client:
            notes.print("demo:")
            demo.run(
                client,
                lambda line: notes.print(line, markup=False, soft_wrap=True),
                started=float(sys.argv[1]),
            )
        notes.print("demo: done; ask one with `modelyard predict digits --sample`; Ctrl-C stops everything")
    except (ModelyardError, ValueError) as error:
        notes.print(f"demo: failed: {error}", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
