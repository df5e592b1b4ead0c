"""Metrics that replicas expose, read from the replicas themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelyard.control.platform import Platform
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.errors import ModelyardError

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^\n]*\})?[ \t]+(\S+)", re.MULTILINE)


async def means(
    platform: Platform, key: Key, replicas: Sequence[Replica], names: Sequence[str]
) -> dict[str, float]:
    """The mean over these replicas by metric; a metric that none of them exposes is left out."""
    found: dict[str, list[float]] = {}
    for replica in replicas:
        try:
            text = (await platform.backend.ask(key, replica.name, "/metrics")).decode("utf-8", "replace")
        except ModelyardError:
            # It may have left since it was observed; the others speak for it.
            continue
        for name, value in totals(text).items():
            if name in names:
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def totals(exposition: str) -> dict[str, float]:
    """Each metric's value in Prometheus' text format, the sum over its labels."""
    found: dict[str, float] = {}
    for name, text in _SAMPLE.findall(exposition):
        try:
            value = float(text)
        except ValueError:
            continue
        if value == value:  # a gauge without a value yet is NaN
            found[name] = found.get(name, 0.0) + value
    return found
