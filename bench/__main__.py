"""`python -m bench [start|cold|wake|memory|traffic|grpc|peers …]` prints tables and keeps numbers."""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench import (
    cluster,
    cold,
    cycles,
    gates,
    grpc_unary,
    lossless,
    machine,
    memory,
    overload,
    predict,
    report,
    resync,
    rollout,
    start,
    traffic,
    wake,
)
from bench.peers import environments
from bench.peers import measure as peers

WORKLOADS = {
    "start": start.measure,
    "cold": cold.measure,
    "memory": memory.measure,
    "predict": predict.measure,
    "rollout": rollout.measure,
    "lossless": lossless.measure,
    "traffic": traffic.measure,
    "grpc": grpc_unary.measure,
    "overload": overload.measure,
    "cycles": cycles.measure,
    "wake": wake.measure,
    "gates": gates.measure,
    "cluster": cluster.measure,
    "resync": resync.measure,
}
ASKED_FOR = {"peers": peers.measure}
"""Measured only when named, as they install other servers; `peers:identity,forest@ours,floor` narrows."""


def main() -> int:
    """Measure the workloads that were named, or all of them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", metavar="|".join((*WORKLOADS, *ASKED_FOR)), help="ours when none is named"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured")
    chosen = parser.parse_args()
    known = {**WORKLOADS, **ASKED_FOR}
    for name in chosen.workloads:
        if name.partition(":")[0] not in known or (":" in name and name.partition(":")[0] not in ASKED_FOR):
            parser.error(f"{name} is not a workload; there are {', '.join(known)}")
    for named in chosen.workloads or WORKLOADS:
        name, _, narrowed = named.partition(":")
        facts = machine.facts()
        if name in ASKED_FOR:
            facts["packages"] |= environments.versions()
            tables = asyncio.run(ASKED_FOR[name](chosen.rounds, narrowed))
        else:
            tables = asyncio.run(WORKLOADS[name](chosen.rounds))
        print(machine.line(facts), end="\n\n")
        for table in tables:
            print(table.markdown(), end="\n\n", flush=True)
        print(f"{report.save(name, facts, tables)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
