"""Whether what the platform says at its start is for whoever started it, or is kept where others read it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from modelyard.settings import Settings

_ERRORS = 2


def is_kept(chosen: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the output goes to a pod's log or to the journal: no link belongs there."""
    if chosen.backend.kind == "kubernetes" and environ.get("POD_NAME"):
        return True
    # What systemd says in the environment is inherited by every shell of a desktop; only these two are not.
    return environ.get("SYSTEMD_EXEC_PID") == str(os.getpid()) or environ.get("JOURNAL_STREAM") == _stream()


def _stream() -> str:
    """Where errors are written to, as systemd names the journal."""
    try:
        found = os.fstat(_ERRORS)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"
