"""How long a test waits for what must happen: how quickly it does is measured in `bench`."""

from __future__ import annotations

PATIENCE = 60.0
"""Seconds; a machine that is busy with other things fails no test."""
