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

import orjson
import uvloop

from modelyard.serving.config import ReplicaConfig, read_config
from modelyard.serving.errors import ConfigInvalid, Failure
from modelyard.serving.front import Front

_PR_SET_PDEATHSIG = 1


_MOST_LAST_WORDS = 900
"""Characters; Kubernetes keeps 4096 bytes of a container's last message."""


async def serve(config: ReplicaConfig, *, last_words: str = "") -> int:
    """Run a front in this process; returns the exit status. Why it failed is written to `last_words`."""
    front = Front(config)
    gc.collect()
    gc.freeze()
    # Requests make many short-lived objects and hardly a cycle, so looking for cycles may be rare.
    gc.set_threshold(20_000, 20, 20)
    status = await front.run()
    if status and last_words and front.failure is not None:
        _say(front.failure, last_words)
    return status


def _say(failure: Failure, last_words: str) -> None:
    said = failure._asdict() | {"message": failure.message[:_MOST_LAST_WORDS]}
    with contextlib.suppress(OSError), open(last_words, "wb") as file:
        file.write(orjson.dumps(said))


def main() -> int:
    """Read the configuration, serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.serving", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="replica.json")
    parser.add_argument("--listen", default="", help="ADDRESS:PORT, instead of what replica.json says")
    parser.add_argument("--replica", default="", help="its name, instead of what replica.json says")
    parser.add_argument("--last-words", default="", help="file that is told why it could not serve")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the process that started it does"
    )
    arguments = parser.parse_args()
    if arguments.with_parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        config = read_config(arguments.config, listen=arguments.listen, replica=arguments.replica)
    except ConfigInvalid as error:
        sys.stderr.write(f"replica.json: {error}\n")
        return 1
    _allow_many_files()
    return uvloop.run(serve(config, last_words=arguments.last_words))


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))


if __name__ == "__main__":
    sys.exit(main())
