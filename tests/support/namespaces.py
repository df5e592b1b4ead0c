"""What tests need that give a process a network, or a machine's services, of its own."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(*programs: str) -> list[pytest.MarkDecorator]:
    """Marks that skip a module, with the reason, where root or one of these programs is missing."""
    lacking = [name for name in programs if shutil.which(name) is None]
    return [
        pytest.mark.skipif(bool(lacking), reason=f"no {', '.join(lacking)} on this machine"),
        pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces without a user's"),
    ]
