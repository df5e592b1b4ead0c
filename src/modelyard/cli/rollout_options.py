"""The options of `deploy` and `plan` that say how a new revision takes over."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelyard.cli import files
from modelyard.domain.errors import FieldError, Invalid


def rollout(
    strategy: Annotated[
        str | None, typer.Option(help="How it takes over: rolling, blue-green or canary")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Percent of a canary's steps, such as 5,25,100")] = None,
    interval: Annotated[str | None, typer.Option(help="How long each step lasts at least")] = None,
    min_requests: Annotated[int | None, typer.Option(help="Requests that each step must have seen")] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="errors=1%, p99=20%, agreement=99%, memory=20%, metric:NAME<=5, manual; repeat"),
    ] = None,
    mirror: Annotated[int | None, typer.Option(help="Percent of requests to compare answers of")] = None,
    tolerance: Annotated[float | None, typer.Option(help="By which part numbers may differ")] = None,
    keep_inputs: Annotated[bool | None, typer.Option(help="Keep the inputs of the worst")] = None,
    keep: Annotated[str | None, typer.Option(help="How long the old revision stays at hand after it")] = None,
    lean: Annotated[bool | None, typer.Option(help="Give up old replicas step by step")] = None,
) -> dict[str, Any]:
    """How a new revision takes over, and what it must keep to."""
    said = {
        "kind": strategy,
        "steps": None if steps is None else _steps(steps),
        "interval_seconds": None if interval is None else _seconds(interval, "--interval"),
        "min_requests": min_requests,
        "gates": tuple(gate) if gate else None,
        "mirror": mirror,
        "tolerance": tolerance,
        "keep_inputs": keep_inputs,
        "keep_seconds": None if keep is None else _seconds(keep, "--keep"),
        "lean": lean,
    }
    chosen = {name: value for name, value in said.items() if value is not None}
    return {"strategy": chosen or None}


def _steps(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 4 for part in parts):
        message = f"{text[:60]} is not a list of percentages; write it as 5,25,100"
        raise Invalid(f"--steps: {message}", errors=[FieldError("--steps", message)])
    return tuple(int(part) for part in parts)


def _seconds(text: str, name: str) -> float:
    return 0.0 if text in ("0", "0s") else files.seconds(text, name)
