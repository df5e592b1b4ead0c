"""What every layer of tests needs before its first test."""

from __future__ import annotations

import ast
from typing import Any

# Its pytest plugin imports this at the very end, when pytest parses the module to rewrite its assertions. On
# Python 3.11 the parser fails when a thread that is still there formats a traceback, which parses too.
import hypothesis.internal.observability  # noqa: F401
from hypothesis import HealthCheck, settings

# How long something takes is measured in `bench`: a machine that is busy with other things fails no test.
settings.register_profile("modelyard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("modelyard")

_ATTEMPTS = 5
_parse = ast.parse


def _parse_again(*arguments: Any, **options: Any) -> Any:
    """`ast.parse`, tried again where CPython 3.11 loses count of its own depth (python/cpython#106905).

    pytest parses to rewrite assertions, hypothesis to describe lambdas; the error says nothing of the source.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            return _parse(*arguments, **options)
        except SystemError:
            if not left:
                raise
    raise AssertionError


ast.parse = _parse_again  # type: ignore[assignment]
