"""A real S3 server on this machine: nanio, a program of its own, which checks signatures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE
from tests.support.ports import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "modelyard-test", "AWS_SECRET_ACCESS_KEY": "not-a-secret-at-all"}


@dataclass
class BucketServer:
    """Where the server is, and its process, which tests may stop."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]

    def bucket(self, name: str) -> None:
        """Make a bucket: a directory of the server's."""
        (self.data / name).mkdir(parents=True, exist_ok=True)


def start(data: Path, port: int) -> BucketServer:
    """Start a server and wait until it answers."""
    data.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "NANIO_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"]}
    env["NANIO_SECRET_KEY"] = KEYS["AWS_SECRET_ACCESS_KEY"]
    place = ["--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanio", "serve", *place, "--log-level", "warning", "--no-access-log"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            break  # it answers that it wants a signature
        except OSError:
            time.sleep(0.05)
        else:
            break
    return BucketServer(url, data, process)


@contextmanager
def serving(data: Path) -> Iterator[BucketServer]:
    """A server with the bucket `models`, until the block ends."""
    server = start(data, free_port())
    server.bucket("models")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
