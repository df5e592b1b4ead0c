"""A plan as people read it: what changes, what it costs, who answers, what breaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from modelyard.cli import context, output
from modelyard.domain.planning import Act, Plan

_DOES = {
    Act.CREATE: "creates",
    Act.REPLACE: "replaces",
    Act.CHANGE: "changes",
    Act.NOTHING: "changes nothing of",
}


def show(plan: Plan) -> None:
    """Write the plan to standard output, as text or as the whole document."""
    if context.current().output != "table":
        return output.show(plan, [])
    sys.stdout.write("\n".join(_lines(plan)) + "\n")


def _lines(plan: Plan) -> Iterator[str]:
    runs = f"revision {plan.revision} runs {plan.model or 'its own server'} in runtime {plan.runtime}"
    yield f"{_DOES[plan.act]} {plan.service}: {runs}"
    for change in plan.changes:
        yield f"  ~ {change}"
    for total in plan.totals:
        during = f", at most {total.at_most} meanwhile" if total.at_most != total.after else ""
        yield f"  {total.resource}: {total.before} → {total.after}{during}"
    if plan.builds:
        yield f"  builds runtime {plan.builds} first"
    if plan.fits:
        yield f"  must wait for room: {plan.fits}"
    yield f"  traffic: {plan.traffic}"
    yield from (f"  breaks: {each}" for each in plan.breaking)
    if plan.breaking:
        yield "  it would be refused; --allow-breaking carries it out all the same"
    yield from (f"  warning: {warning}" for warning in plan.warnings)
