"""Reads a fitted object from joblib, pickle and skops files."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from typing import Any, List, Mapping, Set, Tuple

from modelyard_worker.config import entry_path
from modelyard_worker.explain import explain
from modelyard_worker.loaders import lean


def read(config: Mapping[str, Any]) -> Tuple[Any, str]:
    """The object in the model's file, and the library version that the file says it was written with.

    The platform scanned the file before this process was started.
    """
    with warnings.catch_warnings(record=True) as caught, lean.statistics_later():
        try:
            model = _read(str(config.get("serialization")), entry_path(config))
        except Exception as error:
            version = _written_with(caught)
            settings = {**config, "framework_version": config.get("framework_version") or version}
            raise explain(error, settings, loading=True) from error
        finally:
            _show_once(caught)
    return model, _written_with(caught)


def _read(serialization: str, path: str) -> Any:
    if serialization == "skops":
        skops = importlib.import_module("skops.io")
        return skops.load(path, trusted=skops.get_untrusted_types(file=path))
    if serialization == "joblib":
        return importlib.import_module("joblib").load(path)
    with open(path, "rb") as file:
        return pickle.load(file)  # noqa: S301 - the platform's scan admitted the file, and this is its own process


def _written_with(caught: List[warnings.WarningMessage]) -> str:
    for each in caught:
        version = getattr(each.message, "original_sklearn_version", "")
        if version:
            return str(version)
    return ""


def _show_once(caught: List[warnings.WarningMessage]) -> None:
    shown: Set[Tuple[str, str]] = set()
    for each in caught:
        version = str(getattr(each.message, "original_sklearn_version", ""))
        key = (each.category.__name__, version or str(each.message))
        if key not in shown:
            shown.add(key)
            print(f"{each.category.__name__}: {each.message}", file=sys.stderr)
