"""Starts the inference server of one replica: `python -m modelyard.serving --config replica.json`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import resource
import signal
import sys
from pathlib import Path

import uvloop

from modelyard.serving.config import ReplicaConfig, read_config
from modelyard.serving.errors import ConfigInvalid
from modelyard.serving.front import Front

_PR_SET_PDEATHSIG = 1


async def serve(config: ReplicaConfig) -> int:
    """Run a front in this process; returns the exit status."""
    front = Front(config)
    gc.collect()
    gc.freeze()
    # Requests make many short-lived objects and hardly a cycle, so looking for cycles may be rare.
    gc.set_threshold(20_000, 20, 20)
    return await front.run()


def main() -> int:
    """Read the configuration, serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.serving", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="replica.json")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the process that started it does"
    )
    arguments = parser.parse_args()
    if arguments.with_parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        config = read_config(arguments.config)
    except ConfigInvalid as error:
        sys.stderr.write(f"replica.json: {error}\n")
        return 1
    _allow_many_files()
    return uvloop.run(serve(config))


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))


if __name__ == "__main__":
    sys.exit(main())
