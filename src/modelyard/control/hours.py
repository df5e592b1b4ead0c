"""What hour it is where a deployment's users are."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modelyard.domain.autoscaling import PATH, Autoscaling
from modelyard.domain.errors import FieldError, Invalid


def hour(scaling: Autoscaling, *, default: str, now: float) -> int:
    """The hour of the day, 0 to 23, in the deployment's zone, else in `default`, else in the machine's."""
    zone = scaling.time_zone or default
    return datetime.fromtimestamp(now, ZoneInfo(zone)).hour if zone else time.localtime(now).tm_hour


def require_zone(name: str, path: str = f"{PATH}.time_zone") -> None:
    """Raise Invalid for a time zone that this machine does not know; empty is none."""
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"{name[:60]!a} is not a time zone that this machine knows; write one such as Europe/Berlin"
        raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),)) from None
