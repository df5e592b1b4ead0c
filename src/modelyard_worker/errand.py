"""One task in a container of its own: runs the guest, and tells what came of it at the end of the log.

`python -m modelyard_worker.errand KIND --config FILE --out DIRECTORY …`. What the guest printed comes first
to the log as it is; the outcome follows as lines that begin with the marker that was given. The marker comes
in the environment, of which the guest gets no copy, so that no guest can tell an outcome by itself.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import IO, Any, Dict, List, Optional

MOST_PRINTED = 256 * 1024
"""Bytes of stdout and of stderr that are kept."""
MOST_TOLD = 512 * 1024
"""Bytes of an answer that the log carries; a larger one is stored as a file."""
MOST_RESULT = 256 << 20
MARKER = "MODELYARD_ERRAND_MARKER"
_CHUNK = 8000
_PR_SET_DUMPABLE = 4
_EVENTS = "/sys/fs/cgroup/memory.events"
_MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


def main(argv: List[str]) -> int:
    """Run the guest and tell the outcome; the exit code says only whether it could be told."""
    options = _parser().parse_args(argv)
    marker = os.environ.pop(MARKER)
    _close_to_others()
    os.makedirs(options.out, exist_ok=True)
    result = os.path.join(options.out, "result.json")
    killed = _oom_kills()
    began = time.monotonic()
    program = ["-m", options.program] if options.program else [_MAIN]
    command = [options.python or sys.executable, *program, options.kind, "--config", options.config]
    if options.request:
        command += ["--request", options.request]
    ran = _run([*command, "--out", result], options.seconds)
    outcome: Dict[str, Any] = {
        **ran,
        "oom": _oom_kills() > killed,
        "seconds": time.monotonic() - began,
        "said": None,
        "result": None,
        "files": [],
    }
    token = _read(options.token).decode().strip() if options.token else ""
    outcome.update(_said(result, options.store, token))
    if options.made:
        outcome["files"] = _stored_all(options.made, options.store, token)
    _tell(outcome, marker)
    return 0


def _close_to_others() -> None:
    """Nobody of the same user reads this process's memory, environment or files, as a guest could."""
    with contextlib.suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _run(command: List[str], seconds: float) -> Dict[str, Any]:
    """The guest in a group of its own, of which nothing is left afterwards."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return {"code": 127, "late": False, "stdout": "", "stderr": str(error)}
    printed = [_Printed(child.stdout, sys.stdout), _Printed(child.stderr, sys.stderr)]
    late = False
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        late = True
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    stdout, stderr = (each.text() for each in printed)
    return {"code": code, "late": late, "stdout": stdout, "stderr": stderr}


class _Printed:
    """What one stream says: passed on to the log, and its beginning kept."""

    def __init__(self, stream: Optional[IO[bytes]], log: Any) -> None:
        self._stream, self._log = stream, log
        self._kept = bytearray()
        self._total = 0
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What was kept, and how much was not."""
        self._thread.join(timeout=5)
        text = bytes(self._kept).decode("utf-8", "replace")
        left = self._total - len(self._kept)
        return text if left <= 0 else "%s\n[%d bytes more were left out]\n" % (text, left)

    def _pump(self) -> None:
        while self._stream is not None:
            block = self._stream.read1(1 << 16)  # type: ignore[attr-defined]
            if not block:
                return
            room = max(0, MOST_PRINTED - len(self._kept))
            self._total += len(block)
            self._kept += block[:room]
            if room:
                self._log.buffer.write(block[:room])
                self._log.flush()


def _said(path: str, store: str, token: str) -> Dict[str, Any]:
    """What the guest answered; one that is too long for the log is stored."""
    try:
        size = os.path.getsize(path)
    except OSError:
        return {}
    if size > MOST_RESULT:
        return {"too_long": size}
    content = _read(path)
    if len(content) <= MOST_TOLD or not store:
        try:
            return {"said": json.loads(content)}
        except ValueError:
            return {}
    return {"result": _stored("result.json", content, store, token)}


def _stored_all(directory: str, store: str, token: str) -> List[Dict[str, Any]]:
    """The files that the guest made; only what is a file itself, as it may leave links to anything."""
    found = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        if (
            os.path.isfile(path)
            and not os.path.islink(path)
            and os.path.getsize(path) <= MOST_RESULT
            and store
        ):
            found.append(_stored(name, _read(path), store, token))
    return found


def _stored(name: str, content: bytes, store: str, token: str) -> Dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    request = urllib.request.Request(  # noqa: S310 - the address is the platform's
        "%s/%s" % (store.rstrip("/"), digest),
        data=content,
        method="PUT",
        headers={"Authorization": "Bearer %s" % token, "Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=300):  # noqa: S310
        return {"path": name, "size": len(content), "sha256": digest}


def _tell(outcome: Dict[str, Any], marker: str) -> None:
    text = base64.b64encode(gzip.compress(json.dumps(outcome).encode())).decode()
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    lines = ["%s %d/%d %s" % (marker, number + 1, len(chunks), each) for number, each in enumerate(chunks)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def _oom_kills() -> int:
    """How often the kernel ended something in this container for want of memory."""
    try:
        lines = _read(_EVENTS).decode().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelyard_worker.errand", description=__doc__)
    parser.add_argument("kind", choices=("inspect", "test", "survey"))
    parser.add_argument("--config", required=True)
    parser.add_argument("--program", default="", help="module that answers; else the guest's own commands")
    parser.add_argument("--request", default="")
    parser.add_argument("--out", required=True, help="directory for the answer")
    parser.add_argument("--made", default="", help="directory of files that are stored")
    parser.add_argument("--python", default="", help="interpreter of the guest; else this one")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--store", default="", help="address that files are PUT below")
    parser.add_argument("--token", default="", help="file with what opens the store")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
