"""The forms in which the API has times and bytes."""

from __future__ import annotations

import base64
from datetime import datetime


def seconds(text: object) -> float:
    """Seconds since the epoch of a time of the API; 0 for none, and for what is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def coded(value: str | bytes) -> str:
    """A value as Secrets have it."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
