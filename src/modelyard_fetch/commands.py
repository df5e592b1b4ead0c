"""The command line: `files` (the default) brings files, `check` compares them, `environment` makes one."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import List, Optional

from modelyard_fetch import checking, environment, fetching, outcome
from modelyard_fetch.outcome import Failed

_COMMANDS = ("files", "check", "environment")


def main(argv: List[str]) -> int:
    """Run one command and return its exit code."""
    words = argv if argv[:1] and argv[0] in (*_COMMANDS, "-h", "--help") else ["files", *argv]
    options = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _stop)
    try:
        if options.command == "environment":
            environment.make(environment.Wanted.of(options))
        elif options.command == "check":
            checking.check(checking.Wanted.of(options))
        else:
            fetching.fetch(fetching.Wanted.of(options))
    except Failed as failed:
        outcome.tell(failed, options.last_words)
        return failed.code
    except KeyboardInterrupt:
        print("modelyard-fetch: stopped; what has arrived is kept", file=sys.stderr, flush=True)
        return outcome.INTERRUPTED
    return outcome.OK


def _stop(_signal: int, _frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelyard-fetch", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files", help="bring the files of a manifest into a directory")
    files.add_argument("--manifest", required=True, help="JSON file that lists the files")
    files.add_argument("--into", required=True, help="directory that gets them")
    files.add_argument("--cache", default="", help="directory of the node that pods share")
    files.add_argument("--cache-bytes", type=int, default=0, help="how much the cache may hold; 0 for all")
    files.add_argument("--token-file", default="", help="file with the token; else MODELYARD_FETCH_TOKEN")
    files.add_argument("--ca-file", default="", help="certificate of the authority to trust as well")
    files.add_argument("--parallel", type=int, default=4, help="how many requests run at once")
    files.add_argument("--attempts", type=int, default=8, help="tries without a byte before giving up")
    files.add_argument("--last-words", default="", help="file that gets the reason of a failure")
    check = commands.add_parser("check", help="compare files that are there with a manifest")
    check.add_argument("--manifest", required=True, help="JSON file that lists the files")
    check.add_argument("--in", dest="within", required=True, help="directory that should hold them")
    check.add_argument("--last-words", default="", help="file that gets the reason of a failure")
    made = commands.add_parser("environment", help="make an environment from a hash-locked list of packages")
    made.add_argument("--requirements", required=True, help="the lock: pinned packages with their hashes")
    made.add_argument("--into", required=True, help="directory of the environment, below a volume")
    made.add_argument("--python", default="", help="interpreter to make it for; else the one that runs this")
    made.add_argument("--wheels", action="append", default=[], help="directory or address with wheels")
    made.add_argument("--wheels-from", default="", help="manifest of wheels to fetch; then no index is asked")
    made.add_argument("--index-url", default="", help="package index; else UV_DEFAULT_INDEX or PIP_INDEX_URL")
    made.add_argument("--offline", action="store_true", help="use the wheels and the cache only")
    made.add_argument("--cache", default="", help="directory of uv's cache that pods share")
    made.add_argument("--uv", default="", help="program; else `uv` on PATH, else what Python brings itself")
    made.add_argument("--last-words", default="", help="file that gets the reason of a failure")
    return parser
