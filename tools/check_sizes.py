"""Fail when files or functions outgrow the project's limits."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

FILE_LINES = 500
FILE_MEDIAN = 120
FUNCTION_LINES_P99 = 50
FUNCTION_LINES_MAX = 60


def functions(path: Path) -> list[tuple[int, str]]:
    """Length in lines and place of every function of a file."""
    tree = ast.parse(path.read_text())
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def problems() -> list[str]:
    """One line for each limit that is broken."""
    source = sorted(Path("src").rglob("*.py"))
    lengths = {path: len(path.read_text().splitlines()) for path in source}
    everything = [
        *source,
        *Path("tests").rglob("*.py"),
        *Path("bench").rglob("*.py"),
        *Path("tools").rglob("*.py"),
    ]
    found = [
        f"{path}: {count} lines, at most {FILE_LINES}"
        for path in everything
        if (count := len(path.read_text().splitlines())) > FILE_LINES
    ]
    written = [count for count in lengths.values() if count]
    if statistics.median(written) > FILE_MEDIAN:
        found.append(f"median file has {statistics.median(written):.0f} lines, at most {FILE_MEDIAN}")
    sizes = sorted(size for path in source for size in functions(path))
    p99 = sizes[int(len(sizes) * 0.99)]
    if p99[0] > FUNCTION_LINES_P99:
        found.append(f"99th percentile of functions has {p99[0]} lines, at most {FUNCTION_LINES_P99}")
    found += [
        f"{place}: {size} lines, at most {FUNCTION_LINES_MAX}"
        for size, place in sizes
        if size > FUNCTION_LINES_MAX
    ]
    return found


if __name__ == "__main__":
    broken = problems()
    print("\n".join(broken) or "sizes: within limits")
    sys.exit(bool(broken))
