"""The commands `inspect`, `test` and `serve`; heavy modules are imported when a command needs them."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import struct
import sys
import traceback
from typing import Any, Callable, Dict, List

from modelyard_worker import config
from modelyard_worker.explain import explain
from modelyard_worker.failures import Failure


def main(arguments: List[str]) -> int:
    """Run one command; the exit status is 0 when its outcome was reported, also when that is a failure."""
    options = _parser().parse_args(arguments)
    if options.command == "serve":
        return _serve(_settings(options.config), options.fd)
    faulthandler.enable()
    if options.command == "inspect":
        outcome = report(lambda: _inspected(options.config, options.out))
    else:
        outcome = report(lambda: _verb("trial", "test_model")(_settings(options.config), options.request))
    write_beside(options.out, outcome)
    return _leave()


def report(verb: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """Run a verb and shape its outcome: `{"result": …, "failure": null}` or the other way round.

    Tracebacks go to stderr only.
    """
    try:
        return {"result": verb(), "failure": None}
    except Failure as failure:
        if failure.__cause__ is not None:
            traceback.print_exception(
                type(failure.__cause__), failure.__cause__, failure.__cause__.__traceback__
            )
        return {"result": None, "failure": failure.as_json()}
    except Exception as error:  # noqa: BLE001 - also a fault of ours, such as a runtime without numpy, is reported
        traceback.print_exc()
        return {"result": None, "failure": explain(error, {}, loading=True).as_json()}


def write_beside(path: str, outcome: Dict[str, Any]) -> None:
    """Write the outcome beside its place and rename it, so that a reader never sees half a file."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8", errors="replace") as file:
        json.dump(outcome, file, ensure_ascii=False, allow_nan=False)
    os.replace(beside, path)


def _settings(path: str) -> Dict[str, Any]:
    settings = config.read(path)
    config.limit_threads(settings)
    return settings


def _inspected(path: str, out: str) -> Dict[str, Any]:
    inspect = _verb("inspection", "inspect_model")
    return inspect(_settings(path), lambda known: write_beside(out, {"result": known, "failure": None}))


def _serve(settings: Dict[str, Any], fd: int) -> int:
    try:
        module = importlib.import_module("modelyard_worker.serve")
    except ImportError as error:  # a runtime without numpy: the front is told in its own frames
        failure = explain(error, settings, loading=True)
        header = json.dumps({"op": "failed", **failure.as_json()}).encode()
        os.write(fd, struct.pack("<II", len(header), 0) + header)
        return 1
    return _leave(int(module.serve(settings, fd)))


def _verb(module: str, name: str) -> Callable[..., Dict[str, Any]]:
    verb: Callable[..., Dict[str, Any]] = getattr(importlib.import_module(f"modelyard_worker.{module}"), name)
    return verb


def _leave(status: int = 0) -> int:
    """End at once: threads that the guest left running must not keep the process alive."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the guest closed it, or nobody reads any more
    os._exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelyard_worker")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, more in (("inspect", ("--out",)), ("test", ("--request", "--out")), ("serve", ())):
        command = commands.add_parser(name)
        command.add_argument("--config", required=True)
        for option in more:
            command.add_argument(option, required=True)
    commands.choices["serve"].add_argument("--fd", type=int, required=True)
    return parser
