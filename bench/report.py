"""Samples, their median and spread, and the tables that show them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Table:
    """A heading, columns, and rows of text; `numbers` is what the rows were made of."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    notes: str = ""

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"### {self.title}", ""]
        lines += [_row(self.columns), _row(["---"] * len(self.columns)), *map(_row, self.rows)]
        return "\n".join([*lines, *(("", self.notes) if self.notes else ())])


def measured(title: str, *, notes: str = "") -> Table:
    """An empty table for quantities, each measured several times."""
    return Table(title, ("what", "median", "lowest to highest", "n", "target"), notes=notes)


def add(table: Table, what: str, samples: Sequence[float], unit: str, *, most: float | None = None) -> None:
    """Add one quantity; `most` is its target."""
    if not samples:
        return
    middle = statistics.median(samples)
    goal = "" if most is None else f"<= {most:g} {unit}: {'met' if middle <= most else 'missed'}"
    spread = f"{_digits(min(samples))} to {_digits(max(samples))}"
    table.rows.append((what, f"{_digits(middle)} {unit}", spread, str(len(samples)), goal))
    table.numbers[what] = {"unit": unit, "samples": list(samples), "median": middle, "target": most}


def save(workload: str, facts: dict[str, Any], tables: Sequence[Table]) -> Path:
    """Keep the numbers beside earlier ones; the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{workload}-{facts['date'].replace(':', '')[:17]}.json"
    document = {"machine": facts, "tables": {table.title: table.numbers for table in tables}}
    path.write_text(json.dumps(document, indent=1))
    return path


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
