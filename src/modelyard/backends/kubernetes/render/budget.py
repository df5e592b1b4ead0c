"""How many of a revision's pods the cluster may take away at once when it empties nodes."""

from __future__ import annotations

from typing import Any

from modelyard.backends.kubernetes import names


def budget(labels: dict[str, str]) -> dict[str, Any]:
    """The spec of a budget: one pod at a time, and a sick one at any time.

    One that forbade everything would hold up whoever empties the node of a service with a single replica.
    Only pods that take requests are counted: a draining one is no loss.
    """
    return {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {**labels, names.TAKES_REQUESTS: "true"}},
    }
