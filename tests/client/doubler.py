"""A model that is a class, for tests of the SDK."""

from __future__ import annotations

from typing import Any


class Doubler:
    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: value * 2 for name, value in inputs.items()}
