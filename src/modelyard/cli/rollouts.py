"""`rollout …`: watch a judged rollout, pause it, let it go on, take it back, compare answers."""

from __future__ import annotations

import typer

from modelyard.cli import context, output, services
from modelyard.cli.services import Name
from modelyard.domain.comparison import Report
from modelyard.domain.rollout_view import RolloutView

group = typer.Typer(no_args_is_help=True, help="Rollouts that are judged: canary, blue-green, gates.")
_STATUS: list[output.Column] = [
    ("service", lambda v: v.service),
    ("strategy", lambda v: v.strategy),
    ("stand", lambda v: v.stand),
    ("step", lambda v: f"{v.step} of {len(v.steps)} ({', '.join(map(str, v.steps))} %)" if v.stand else ""),
    ("revisions", lambda v: _revisions(v)),
    ("requests", lambda v: v.requests),
    ("message", lambda v: v.message),
    ("decided by", lambda v: v.decided_by),
]
_GATE: list[output.Column] = [
    ("gate", lambda g: g.gate),
    ("passed", lambda g: "" if g.passed is None else "yes" if g.passed else "no"),
    ("seen", lambda g: g.message),
]
_REPORT: list[output.Column] = [
    ("service", lambda r: r.service),
    ("compared", lambda r: f"{r.pairs} requests, {r.rows} rows: revision {r.revision} with {r.base}"),
    ("class flips", lambda r: f"{r.flipped_rows} of {r.rows} rows ({r.flip_rate:.2%})"),
    ("disagreeing", lambda r: f"{r.disagreeing} requests"),
    ("latency", lambda r: f"{r.latency_delta_seconds * 1000:+.3f} ms in the mean"),
]
_OUTPUT: list[output.Column] = [
    ("output", lambda o: o.name),
    ("flips", lambda o: f"{o.flips} of {o.compared}"),
    ("mean error", lambda o: o.mean_error),
    ("max error", lambda o: o.max_error),
]
_WORST: list[output.Column] = [
    ("request", lambda w: w.id),
    ("flipped", lambda w: f"{w.flipped:.0%}"),
    ("max error", lambda w: w.max_error),
    ("rows", lambda w: w.rows),
    ("bytes", lambda w: w.size),
    ("inputs", lambda w: "; ".join(f"{v.name}={list(v.data[:8])}" for v in w.inputs)),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="rollout")


@group.command()
def status(name: Name) -> None:
    """How far the rollout is, and the numbers that decide it."""
    with context.client() as client:
        found = client.rollouts.get(name)
    output.show(found, _STATUS)
    if found.gates and context.current().output == "table":
        print()
        output.rows(found.gates, _GATE)


@group.command()
def pause(name: Name) -> None:
    """Stay at this step until `resume`; gates go on judging, and may take it back."""
    with context.client() as client:
        output.show(client.rollouts.pause(name), services.STATUS)


@group.command()
def resume(name: Name) -> None:
    """Go on after a pause, or approve the step that waits for it."""
    with context.client() as client:
        output.show(client.rollouts.resume(name), services.STATUS)


@group.command()
def abort(name: Name) -> None:
    """Give all requests back to the revision before, at once."""
    with context.client() as client:
        output.show(client.rollouts.abort(name), services.STATUS)


@group.command()
def compare(name: Name) -> None:
    """How the new revision's answers to mirrored requests differ from the old one's."""
    with context.client() as client:
        report: Report = client.rollouts.comparison(name)
    output.show(report, _REPORT)
    if context.current().output == "table":
        for rows, columns in ((report.outputs, _OUTPUT), (report.worst, _WORST)):
            if rows:
                print()
                output.rows(rows, columns)


def _revisions(view: RolloutView) -> str:
    return ", ".join(f"{each.revision}: {each.percent} %, {each.ready} ready" for each in view.revisions)
