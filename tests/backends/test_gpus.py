"""How busy GPUs are, as far as a driver tells."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from modelyard.backends.local import nodes


class NVMLError(Exception):
    """What the driver's library raises."""


def driver(**changes: object) -> SimpleNamespace:
    """A library that knows two GPUs."""
    given: dict[str, object] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=25 * (device + 1)),
    }
    return SimpleNamespace(**{**given, **changes})


def _fails(*_: object) -> None:
    raise NVMLError


@pytest.mark.parametrize(
    ("library", "ratios"),
    [
        (driver(), {0: 0.25, 1: 0.5}),
        (driver(nvmlInit=_fails), {}),
        (driver(nvmlDeviceGetUtilizationRates=_fails), {}),
        (None, {}),
    ],
)
def test_ratios_are_the_drivers_or_nothing(
    monkeypatch: pytest.MonkeyPatch, library: SimpleNamespace | None, ratios: dict[int, float]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert nodes.gpu_ratios() == ratios
