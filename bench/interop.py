"""`python -m bench.interop` shows how unmodified clients fare with ours and with the peers that start here.

`--url HOST:PORT --grpc HOST:PORT --model NAME` asks one server that runs already instead; it must serve a
classifier of four FP64 features named `input` that answers 0 to the first iris.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench import machine
from bench.peers import environments, running
from bench.peers.measure import models
from bench.peers.servers import INSIDE, SERVERS
from bench.peers.workloads import WORKLOADS
from bench.report import Table

_SERVERS = ("ours", "mlserver", "kserve", "triton")
_MOST_SECONDS = 180

Outcomes = Mapping[str, Mapping[str, str]]


def calls(http: str, grpc: str, model: str) -> Outcomes:
    """What every client call and every mistake came to, against one server."""
    python = environments.interpreter("clients")
    found: dict[str, dict[str, str]] = {"calls": {}, "mistakes": {}}
    for script in ("interop_triton.py", "interop_kserve.py"):
        done = subprocess.run(
            [str(python), str(INSIDE / script), http, grpc, model],
            env={**os.environ, "PYTHONPATH": str(environments.ROOT)},
            capture_output=True, text=True, timeout=_MOST_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{script} failed: {done.stderr[-1000:]}")
        for part, outcomes in json.loads(done.stdout.splitlines()[-1]).items():
            found[part] |= outcomes
    return found


def compared(names: Sequence[str]) -> dict[str, Outcomes]:
    """The same for servers that are started for it, by label."""
    found: dict[str, Outcomes] = {}
    for name in names:
        server = SERVERS[name]
        print(f"{server.label} …", file=sys.stderr)
        try:
            with running.started(server, WORKLOADS["logistic"], models()) as up:
                place = up.place
                grpc = place.port if server.one_port else place.grpc_port
                found[server.label] = calls(f"127.0.0.1:{place.port}", f"127.0.0.1:{grpc}", "m")
        except RuntimeError as error:
            print(f"{server.label} is left out: {error}", file=sys.stderr)
    return found


def tables(found: Mapping[str, Outcomes]) -> list[Table]:
    """One table of calls, one of mistakes."""
    made = []
    for part, title in (("calls", "Clients"), ("mistakes", "Mistakes: the status that comes back")):
        table = Table(title, ("call" if part == "calls" else "mistake", *found))
        for name in next(iter(found.values()))[part]:
            table.rows.append((name, *(outcomes[part].get(name, "") for outcomes in found.values())))
        made.append(table)
    return made


def main() -> int:
    """Print the tables; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.interop", description=__doc__)
    parser.add_argument("servers", nargs="*", metavar="|".join(_SERVERS), help="all when none is named")
    parser.add_argument("--url", help="HOST:PORT of a server that runs already")
    parser.add_argument("--grpc", help="HOST:PORT of its gRPC; the same as --url when absent")
    parser.add_argument("--model", default="m", help="the model's name there")
    chosen = parser.parse_args()
    if chosen.url:
        found = {chosen.url: calls(chosen.url, chosen.grpc or chosen.url, chosen.model)}
    else:
        found = compared(chosen.servers or _SERVERS)
    facts = machine.facts()
    facts["packages"] |= environments.versions()
    print(machine.line(facts))
    for table in tables(found):
        print(f"\n{table.markdown()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
