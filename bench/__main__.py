"""`python -m bench [start|cold|memory|predict|rollout …]` prints tables and keeps the numbers as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench import cold, machine, memory, predict, report, rollout, start

WORKLOADS = {
    "start": start.measure,
    "cold": cold.measure,
    "memory": memory.measure,
    "predict": predict.measure,
    "rollout": rollout.measure,
}


def main() -> int:
    """Measure the workloads that were named, or all of them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="|".join(WORKLOADS), help="all when none is named")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.workloads) - set(WORKLOADS))
    if unknown:
        parser.error(f"{unknown[0]} is not a workload; there are {', '.join(WORKLOADS)}")
    facts = machine.facts()
    print(machine.line(facts), end="\n\n")
    for name in chosen.workloads or WORKLOADS:
        tables = asyncio.run(WORKLOADS[name](chosen.rounds))
        for table in tables:
            print(table.markdown(), end="\n\n", flush=True)
        print(f"{report.save(name, facts, tables)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
