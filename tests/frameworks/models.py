"""Written models as the worker and the platform are told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.models import files_of


def config(written: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The contents of worker.json."""
    return {
        "format": written["format"],
        "serialization": written["serialization"],
        "entry": written["entry"],
        "path": written["directory"],
        "files": files_of(Path(written["directory"])),
        "signature": None,
        "function": "unknown",
        "framework_version": "",
        "runtime": "test",
        "threads": 1,
        **more,
    }


def agrees(outputs: dict[str, Any], expected: dict[str, Any], *, rows: int | None = None) -> None:
    """The same outputs, as near as two orders of adding 32-bit floats are."""
    assert sorted(outputs) == sorted(expected)
    for name, values in expected.items():
        if isinstance(values[0], str):
            assert outputs[name] == values[:rows]
        else:
            np.testing.assert_allclose(
                outputs[name], values[:rows], rtol=2e-2 if name == "output_1" else 1e-4, atol=1e-6
            )
