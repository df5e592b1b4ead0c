"""Keeps the start of big libraries short: what they import in vain is left out or put off until used.

Measured on two slow cores with scikit-learn 1.9: `import sklearn.linear_model` takes 3.0 s, 2.0 s without
pandas and rich, 1.45 s with scipy.stats put off as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Iterator, Tuple

STATISTICS = "scipy.stats"


def scikit_learn() -> ModuleType:
    """Import scikit-learn without the optional libraries that it would only draw and convert with."""
    with hidden("pandas", "rich"), statistics_later():
        library = importlib.import_module("sklearn")
        if importlib.util.find_spec("sklearn.callback") is not None:
            importlib.import_module("sklearn.callback")
    return library


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make optional libraries look absent to a library that is being imported and does without them.

    Libraries that are already there stay; outside this block all can be imported as ever.
    """
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


@contextmanager
def statistics_later() -> Iterator[None]:
    """Put off importing scipy.stats: scikit-learn imports single functions of it that few models call.

    They get stand-ins that import the real thing when they are used; everybody else gets the real module.
    """
    if STATISTICS not in sys.modules:
        sys.modules[STATISTICS] = _Later(STATISTICS)
    try:
        yield
    finally:
        if isinstance(sys.modules.get(STATISTICS), _Later):
            del sys.modules[STATISTICS]


class _Later(ModuleType):
    """Stands in for scipy.stats while scikit-learn is imported."""

    def __getattr__(self, name: str) -> Any:
        asking = str(sys._getframe(1).f_globals.get("__name__", ""))
        if name == "__path__" and asking in ("importlib._bootstrap", "_frozen_importlib"):
            return _real().__path__  # somebody imports a module inside scipy.stats
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stand(name) if asking.startswith("sklearn.") else getattr(_real(), name)


class _Stand:
    """One function of scipy.stats that has not been needed yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the real function."""
        return getattr(_real(), self._name)(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_real(), self._name), name)

    def __mro_entries__(self, bases: Tuple[Any, ...]) -> Tuple[Any, ...]:
        return (getattr(_real(), self._name),)


def _real() -> ModuleType:
    if isinstance(sys.modules.get(STATISTICS), _Later):
        del sys.modules[STATISTICS]
    return importlib.import_module(STATISTICS)
