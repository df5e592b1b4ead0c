"""What an explanation says of traffic: who gets less than was asked, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelyard.domain.explain import Explanation, Finding, Stage
from modelyard.domain.traffic import Part, in_words


def with_traffic(explanation: Explanation, parts: Sequence[Part]) -> Explanation:
    """The explanation, with where requests go and a finding for each place that gets nothing of its part."""
    said = in_words([(str(part.ref), part.weight) for part in parts])
    if not said:
        return explanation
    summary = f"{explanation.summary}; requests go to {said}"
    found = [_finding(part) for part in parts if part.asked and not part.weight]
    return replace(explanation, summary=summary, findings=(*explanation.findings, *found))


def _finding(part: Part) -> Finding:
    service = part.ref.service
    return Finding(
        stage=Stage.ROUTE,
        reason="ShareUnready",
        message=f"{part.ref} gets none of the {float(part.asked):g} % that it should: {part.reason}",
        remedy=f"See `modelyard explain {service}`; `modelyard traffic set` changes the weights.",
    )
