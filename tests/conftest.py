"""What every layer of tests needs before its first test."""

from __future__ import annotations

# Its pytest plugin imports this at the very end, when pytest parses the module to rewrite its assertions. On
# Python 3.11 the parser fails when a thread that is still there formats a traceback, which parses too.
import hypothesis.internal.observability  # noqa: F401
