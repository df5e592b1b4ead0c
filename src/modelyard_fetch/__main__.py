"""Starts the fetcher by file path, with any interpreter, although nothing of Modelyard is installed there."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def bootstrap() -> None:
    """Make `modelyard_fetch` importable from this directory alone; nothing beside it becomes importable."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    if "modelyard_fetch" in sys.modules:
        return
    init = os.path.join(here, "__init__.py")
    spec = importlib.util.spec_from_file_location("modelyard_fetch", init, submodule_search_locations=[here])
    if spec is None or spec.loader is None:
        raise SystemExit("modelyard_fetch: the package directory is not readable")
    package = importlib.util.module_from_spec(spec)
    sys.modules["modelyard_fetch"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    bootstrap()
    code = importlib.import_module("modelyard_fetch.commands").main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that still wait for an answer hold nothing up
