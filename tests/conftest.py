"""What every layer of tests needs before its first test."""

from __future__ import annotations

# Its pytest plugin imports this at the very end, when pytest parses the module to rewrite its assertions. On
# Python 3.11 the parser fails when a thread that is still there formats a traceback, which parses too.
import hypothesis.internal.observability  # noqa: F401
from hypothesis import HealthCheck, settings

# How long something takes is measured in `bench`: a machine that is busy with other things fails no test.
settings.register_profile("modelyard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("modelyard")
