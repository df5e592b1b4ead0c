"""Ports for the servers of tests: given once each, whichever process asks, and never to a connection."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

_FIRST, _COUNT = 12_000, 17_000
"""Below what Linux gives to connections, and below what services of a cluster have on its nodes."""


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given before all others were."""
    with (Path(tempfile.gettempdir()) / f"modelyard-tests-{os.getuid()}.port").open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        number = int(last.read() or os.getpid())
        while True:
            number = (number + 1) % _COUNT
            if _is_free(_FIRST + number):
                break
        last.truncate(0)
        last.write(str(number))
    return _FIRST + number


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
