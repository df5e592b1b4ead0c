"""Runs the checks of a program and prints what became of each."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


def run(checks: Mapping[str, Callable[[str], Any]]) -> None:
    """Call each with the server's address."""
    outcomes = {}
    for name, check in checks.items():
        try:
            check(sys.argv[1])
            outcomes[name] = "ok"
        except BaseException:  # noqa: BLE001 - whatever a client raises is the outcome
            outcomes[name] = traceback.format_exc(limit=-4)
    print(json.dumps(outcomes))


def checks_of(namespace: Mapping[str, Any]) -> dict[str, Callable[[str], Any]]:
    """Every function of a program whose name begins with `check_`."""
    return {name: value for name, value in namespace.items() if name.startswith("check_")}
