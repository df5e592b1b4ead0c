"""Run a front as a child of this process: until it ends, or somebody asks it to."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.backends.local.backend import LocalBackend
from modelyard.domain.errors import Forbidden, Unavailable
from modelyard.domain.model import Signature
from modelyard.standalone.options import Options, Say
from modelyard.standalone.preparing import Prepared, document_of, prepare

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LOOK_SECONDS = 0.05
_LONGEST_SAMPLE = 2000
"""Characters of a sample that is worth printing."""
_LONGEST = 40
"""Characters of a directory for temporary files that sockets can be below."""


def serve(options: Options, say: Say) -> int:
    """Serve until told to stop; returns the exit status.

    Raises NotFound and Refused when there is nothing to serve, Forbidden for an address beyond loopback,
    Unavailable when the server does not start.
    """
    if options.host not in _LOOPBACK and not options.insecure:
        raise Forbidden(
            f"listening on {options.host} would answer whoever reaches this machine, for no token is asked: "
            "stay on 127.0.0.1, put a gateway in front, or say --insecure"
        )
    # The backend wants a short path for sockets, though nothing of ours listens on one here.
    short = "/tmp" if len(tempfile.gettempdir()) > _LONGEST else None  # noqa: S108 - made with a random name
    with tempfile.TemporaryDirectory(prefix="my-serve-", dir=short) as directory:
        return asyncio.run(_serve(options, Path(directory), say))


async def _serve(options: Options, home: Path, say: Say) -> int:
    # A terminal's Ctrl-C while models are looked into ends this process, and with it their processes.
    backend = LocalBackend(
        directory=home / "backend", socket_directory=home / "s", interpreter=sys.executable, clock=time.time
    )
    (node,) = await backend.nodes()
    models = await prepare(options, backend, node, say)
    state = home / "state.json"
    document = {
        "replica": "serve",
        "listen": f"{'127.0.0.1' if options.host == 'localhost' else options.host}:{options.port}",
        "state_path": str(state),
        "limits": {"max_body_bytes": options.max_body_bytes},
        "model_control": True,
        "shared_memory": options.host in _LOOPBACK,
        "models": [document_of(options, home, node, model) for model in models],
    }
    config = home / "replica.json"
    config.write_text(json.dumps(document))
    command = (sys.executable, "-m", "modelyard.serving", "--config", str(config), "--with-parent")
    front = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _end, front)
    ended = loop.create_task(front.wait())
    try:
        if await _ready(ended, state):
            _announce(options, models, say)
        return await _outcome(ended, state)
    finally:
        if front.returncode is None:
            front.kill()
            await front.wait()


async def _ready(ended: asyncio.Task[int], state: Path) -> bool:
    """Wait until everything is loaded, or the front has ended."""
    while not ended.done():
        if _read(state).get("phase") == "ready":
            return True
        await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
    return False


async def _outcome(ended: asyncio.Task[int], state: Path) -> int:
    status = await ended
    failure = _read(state).get("failure")
    if status and isinstance(failure, dict):
        raise Unavailable(f"{failure.get('reason')}: {failure.get('message')}")
    return max(0, status)


def _announce(options: Options, models: Sequence[Prepared], say: Say) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{options.port}"
    for model in models:
        artifact, candidate = model.guest.artifact, model.candidate
        version = f" version {candidate.version}" if candidate.version else ""
        what = " ".join(filter(None, (artifact.format.value, artifact.algorithm)))
        say(f"{candidate.name}{version} ({what}) answers at {url}/v2/models/{candidate.name}")
    first = models[0]
    signature = first.guest.artifact.signature
    if signature.sample and len(json.dumps(signature.sample)) <= _LONGEST_SAMPLE:
        request = json.dumps(_request(signature))
        say(f"try: curl {url}/v2/models/{first.candidate.name}/infer -d {shlex.quote(request)}")


def _request(signature: Signature) -> dict[str, Any]:
    """The sample as an inference request in the Open Inference Protocol v2."""
    sample = signature.sample or {}
    return {
        "inputs": [
            {
                "name": spec.name,
                "datatype": spec.datatype.value,
                "shape": _shape(sample[spec.name]),
                "data": sample[spec.name],
            }
            for spec in signature.inputs
            if spec.name in sample
        ]
    }


def _shape(nested: Any) -> list[int]:
    """Sizes of nested lists, as their first elements show them."""
    if not isinstance(nested, list):
        return []
    return [len(nested), *(_shape(nested[0]) if nested else ())]


def _end(front: Process) -> None:
    """Pass on the wish to stop: the first drains, the second ends at once."""
    if front.returncode is None:
        front.send_signal(signal.SIGTERM)


def _read(state: Path) -> dict[str, Any]:
    try:
        found = json.loads(state.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
